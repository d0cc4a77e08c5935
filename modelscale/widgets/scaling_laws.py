"""The explorer of notebook 02: one budget, what each law would buy, and what a wrong law costs.

Legend: N parameters, D tokens, C training FLOPs, C = 6 N D. A law is any object with
`loss(N, D)` and `optimal(C) -> (N, D)`; laws come as a dict from name to law.
"""

import math

import ipywidgets as w
import numpy as np

from .. import check
from ..course.controls import choice
from ..course.explorer import Explorer
from ..plot import si

BUDGETS = tuple(10 ** (half / 2) for half in range(34, 53))  # 1e17 to 1e26 FLOPs
STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
MARKS = ("o", "s", "^", "D")
MARGIN = 8.0  # how far from the outermost best sizes the curves are drawn
BISECTIONS = 60


def compute(laws: dict, believed: str, true: str, C: float) -> dict:
    """What to train by the law believed, and what comes of it by the law that is true.

    N, D, tokens per parameter and the loss hoped for; the loss had, the best loss, and the share
    of C with which the true law's own choice would have had the same.
    Raises: ValueError for a law that is not among `laws`, or no budget.
    """
    for role, name in (("believed", believed), ("true", true)):
        check.one_of(role, name, tuple(laws))
    N, D = laws[believed].optimal(check.number("C", C))
    had, best = laws[true].loss(N, D), best_loss(laws[true], C)
    share = 1.0 if had <= best else budget_of(laws[true], had, C) / C
    return {
        "N": float(N),
        "D": float(D),
        "tokens_per_parameter": float(D / N),
        "hoped": float(laws[believed].loss(N, D)),
        "had": float(had),
        "best": float(best),
        "wasted": 1 - share,
    }


def best_loss(law, C) -> float:
    """The lowest loss that C FLOPs can buy."""
    return law.loss(*law.optimal(C))


def budget_of(law, loss: float, enough: float) -> float:
    """The smallest budget whose best loss is `loss`, found by halving; `enough` FLOPs reach it."""
    low, high = math.log(enough) - 40, math.log(enough)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if best_loss(law, math.exp(middle)) > loss:
            low = middle
        else:
            high = middle
    return math.exp(high)


def plot_isoflop(ax, laws: dict, C: float, believed: str | None = None, true: str | None = None):
    """`ax` with what each law says that a size N costs, in loss, where all of C is spent.

    A law's curve is its loss above the best it can have; its best size is marked. With `believed`
    and `true`, so is what the one would choose, on the curve of the other, which is drawn thick.
    """
    place_curves(draw_curves(ax, laws), laws, C, believed, true)
    return ax


def draw_curves(ax, laws: dict) -> tuple:
    """The empty (curves, best sizes, choice, drop) that `place_curves` moves."""
    ax.set(xscale="log", xlabel="parameters N (tokens are C / 6N)")
    ax.set(ylabel="loss above the best (nats a token)")
    ax.minorticks_off()  # they cost more than all the rest
    curves, points = [], []
    for i, name in enumerate(laws):
        (color, line), mark = STYLES[i % len(STYLES)], MARKS[i % len(MARKS)]
        curves += ax.plot([], [], color=color, linestyle=line, marker="", label=name)
        points += ax.plot([], [], color=color, linestyle="", marker=mark, markersize=7)
    marked = list(zip(curves, points, strict=True))
    ax.legend(marked, list(laws), loc="upper center", ncols=min(2, len(laws)))
    drop = ax.plot([], [], ":", color="black", marker="", linewidth=1)[0]
    chosen = ax.plot([], [], "X", color="black", markersize=8)[0]
    return curves, points, chosen, drop


def place_curves(parts, laws: dict, C: float, believed=None, true=None) -> None:
    """Nothing: draws this budget into what `draw_curves` returned, and moves the limits to it."""
    curves, points, chosen, drop = parts
    ax, sizes = curves[0].axes, [float(law.optimal(C)[0]) for law in laws.values()]
    N = np.geomspace(min(sizes) / MARGIN, max(sizes) * MARGIN, 201)
    losses = [excess(law, N, C) for law in laws.values()]
    for name, curve, point, size, loss in zip(laws, curves, points, sizes, losses, strict=True):
        curve.set(data=(N, loss), linewidth=3.5 if name == true else 1.5)
        point.set_data([size], [0])
    top = max(loss.max() for loss in losses)
    ax.set(xlim=(N[0], N[-1]), ylim=(-0.04 * top, 1.25 * top))
    if believed is not None and true is not None:
        size = laws[believed].optimal(C)[0]
        chosen.set_data([size], [excess(laws[true], size, C)])
        drop.set_data([size, size], [0, top])


def excess(law, N, C) -> np.ndarray:
    """What N parameters lose against the best size, where all of C is spent."""
    return law.loss(N, C / (6 * N)) - best_loss(law, C)


def describe(laws: dict, believed: str, true: str, C: float) -> str:
    """The state in words: what is trained, the loss, and what believing the wrong law costs."""
    found = compute(laws, believed, true, C)
    text = (
        f"{C:.2g} FLOPs. {believed} says: {si(found['N'])} parameters, "
        f"{si(found['D'])} tokens ({found['tokens_per_parameter']:.3g} a parameter), loss "
        f"{found['hoped']:.3f}. "
    )
    if believed == true:
        return text + "Where it is true, nothing is better."
    share = f"{100 * found['wasted']:.2g}" if found["wasted"] > 1e-3 else "less than 0.1"
    return text + (
        f"Under {true}, the loss is {found['had']:.3f}, and {found['best']:.3f} was to be "
        f"had: {found['had'] - found['best']:.1g} lost, or {share} % of the compute wasted."
    )


def laws_explorer(laws: dict, budgets: tuple = BUDGETS) -> Explorer:
    """Sliders for the budget and the laws believed and true: curves, optima, and the cost."""

    def setup(figure):
        return draw_curves(figure.subplots(), laws)

    names = tuple(laws)
    return Explorer(
        setup,
        lambda parts, believed, true, C: place_curves(parts, laws, C, believed, true),
        lambda believed, true, C: describe(laws, believed, true, C),
        figsize=(5.2, 3.3),
        believed=w.ToggleButtons(options=names, value=names[0], description="believed"),
        true=w.ToggleButtons(options=names, value=names[-1], description="true"),
        C=choice(
            "budget", budgets, budgets[len(budgets) // 2], unit="FLOPs", format="{:.2g}".format
        ),
    )
