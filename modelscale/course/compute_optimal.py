"""Of 03_compute_optimal: the checkers of its exercises, its break-it lab and its explorer.

Legend: N parameters, D tokens, C training FLOPs, C = 6 N D. The explorer's laws are any objects
with `loss(N, D)` and `optimal(C) -> (N, D)`, by name.
"""

import math

import ipywidgets as w
import numpy as np
from scipy.optimize import brentq

from .. import laws as published
from ..plot import si
from . import Explorer, choice, exercise, letter

PUBLISHED = (published.HOFFMANN_2022, published.BESIROGLU_2024)
BUDGETS = tuple(10 ** (half / 2) for half in range(34, 53))  # 1e17 to 1e26 FLOPs
STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"))
MARGIN = 8.0  # how far from the outermost best sizes the curves are drawn


def _best_loss(law, C):
    return float(law.loss(*law.optimal(C)))


def _budget_for(law, loss, enough=1e26):
    """The budget whose best loss is `loss`; `enough` FLOPs reach it."""
    if loss <= _best_loss(law, enough):
        return enough
    top = math.log(enough)
    return math.exp(brentq(lambda log_C: _best_loss(law, math.exp(log_C)) - loss, top - 40, top))


check_optimal_size = exercise(
    "put D = C / (6 N) into the law, and set its derivative by N to zero; "
    "N grows as C to the power beta / (alpha + beta).",
    name="optimal_size",
    cases=[
        (law, C)
        for law in (*PUBLISHED, published.LossSurface(1.0, 30.0, 90.0, 0.5, 0.2))
        for C in (1e18, 5.76e23)
    ],
    reference=lambda law, C: float(law.optimal(C)[0]),
    tolerance=1e-3,
)
check_budget_for = exercise(
    "at its optima a law falls as E + K C^-s with s = alpha beta / (alpha + beta): "
    "take K from any one budget, or search over log C.",
    name="budget_for",
    cases=[(law, _best_loss(law, C)) for law in PUBLISHED for C in (1e19, 1e24)],
    reference=_budget_for,
    tolerance=1e-2,
)
check_colleague = letter(
    "divide the difference of the columns by the width, or by its square: which stays the same?",
    right="b",
    wrong={
        "a": "there are 23 biases for each unit of width, far fewer than are missing.",
        "c": "attention has weights in proportion to the square of the width.",
        "d": "a layer has weights in proportion to the square of the width.",
    },
)


def colleague(runs: list[dict]) -> np.ndarray:
    """The parameters of each run, as the colleague of the lab counts them."""
    return np.array([run["N_non_embedding"] for run in runs], dtype=float)


def laws_explorer(laws: dict, budgets: tuple = BUDGETS) -> Explorer:
    """Controls for the budget and the laws believed and true: curves, optima, and the cost.

    A law's curve is its loss above the best it can have, where all of a budget is spent.
    """

    def update(art, believed, true, C):
        sizes = {name: float(law.optimal(C)[0]) for name, law in laws.items()}
        N = np.geomspace(min(sizes.values()) / MARGIN, max(sizes.values()) * MARGIN, 201)
        top = max(_excess(law, N, C).max() for law in laws.values())
        for name, law in laws.items():
            curve, best = art[name]
            curve.set(data=(N, _excess(law, N, C)), linewidth=3.5 if name == true else 1.5)
            best.set_data([sizes[name]], [0])
        art["drop"].axes.set(xlim=(N[0], N[-1]), ylim=(-0.04 * top, 1.25 * top))
        art["drop"].set_data([sizes[believed]] * 2, [0, top])
        art["chosen"].set_data([sizes[believed]], [_excess(laws[true], sizes[believed], C)])

    names = list(laws)
    return Explorer(
        lambda figure: _draw(figure.subplots(), names),
        update,
        lambda believed, true, C: _told(believed, laws[believed], true, laws[true], C),
        figsize=(5.2, 3.3),
        believed=w.ToggleButtons(options=names, value=names[0], description="believed"),
        true=w.ToggleButtons(options=names, value=names[-1], description="true"),
        C=choice("budget", budgets, budgets[len(budgets) // 2], "FLOPs", "{:.2g}".format),
    )


def _draw(ax, names):
    ax.set(xscale="log", xlabel="parameters N (tokens are C / 6N)")
    ax.set(ylabel="loss above the best (nats a token)")
    ax.minorticks_off()  # they cost more than all the rest
    art = {}
    for name, (color, line, mark) in zip(names, STYLES, strict=False):
        (curve,) = ax.plot([], [], line, color=color, marker="")
        (best,) = ax.plot([], [], mark, color=color, linestyle="", markersize=7)
        art[name] = curve, best
    ax.legend(list(art.values()), names, loc="upper center", ncols=2)
    (art["drop"],) = ax.plot([], [], ":", color="black", marker="", linewidth=1)
    (art["chosen"],) = ax.plot([], [], "X", color="black", markersize=8)
    return art


def _told(name, believed, other, true, C):
    """What the law believed asks for, and what that costs under the true one, in words."""
    N, D = (float(part) for part in believed.optimal(C))
    text = (
        f"{C:.2g} FLOPs. {name} says: {si(N)} parameters, {si(D)} tokens "
        f"({D / N:.3g} a parameter), loss {believed.loss(N, D):.3f}. "
    )
    if believed is true:
        return text + "Where it is true, nothing is better."
    had, best = float(true.loss(N, D)), _best_loss(true, C)
    wasted = 1 - _budget_for(true, had, C) / C
    share = f"{100 * wasted:.2g}" if wasted > 1e-3 else "less than 0.1"
    return text + (
        f"Under {other}, the loss is {had:.3f}, and {best:.3f} was to be had: "
        f"{had - best:.1g} lost, or {share} % of the compute wasted."
    )


def _excess(law, N, C):
    return law.loss(N, C / (6 * N)) - _best_loss(law, C)
