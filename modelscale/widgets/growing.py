"""The explorer of notebook 06: one network grown step by step, beside one from scratch.

Every number is read off a stored sweep. All runs of a budget spend the same FLOPs, what was spent
on the narrower networks included. Legend: S seeds, X records along a run.
"""

import json
from pathlib import Path

import ipywidgets as w
import numpy as np

from .. import check
from ..course.controls import choice
from ..course.explorer import Explorer
from ..plot import si

KINDS = ("equal copies", "unequal copies", "fresh neurons")  # ways to grow
TOP = 1.9  # of the loss axis, in nats


class Sweep:
    """The stored curves of experiments/growing_steps.py."""

    def __init__(self, path):
        stored = json.loads(Path(path).read_text())
        self.about = {key: stored[key] for key in ("machine", "date", "seeds", "seconds")}
        self.recipe, self._cells = stored["recipe"], {}
        for run in stored["runs"]:
            key = run["budget_flops"], run["start"], run["kind"]
            self._cells.setdefault(key, []).append(run)
        self.budgets = sorted({key[0] for key in self._cells})
        self.starts = sorted({key[1] for key in self._cells})
        self.end = self.starts[-1]  # the width of every network at its end

    def curve(self, budget: int, start: int, kind: str, what: str = "loss") -> tuple:
        """(FLOPs spent (X,), what was measured on test signals (S, X)); from scratch at `end`."""
        runs = self._runs(budget, start, kind)
        return np.array(runs[0]["flops"]), np.array([run[what] for run in runs])

    def grown_at(self, budget: int, start: int, kind: str) -> list[int]:
        """The FLOPs spent whenever the width was doubled."""
        return self._runs(budget, start, kind)[0]["grown_at_flops"]

    def _runs(self, budget, start, kind):
        return self._cells[budget, start, "from scratch" if start == self.end else kind]


def compute(sweep: Sweep, start: int, kind: str, budget: int) -> dict:
    """Final losses by first width (S,), in nats, and what the run with this one is like.

    `gain` is scratch minus this, seed by seed: above 0 where growing won.
    Raises: ValueError for a kind of copies that is not there.
    """
    check.one_of("kind", kind, KINDS)
    ends = {s: sweep.curve(budget, s, kind)[1][:, -1] for s in sweep.starts}
    return {
        "ends": ends,
        "gain": ends[sweep.end] - ends[start],
        "accuracy": sweep.curve(budget, start, kind, "accuracy")[1][:, -1],
        "widths": [width for width in sweep.starts if width >= start],
    }


def plot_growth(ax, sweep: Sweep, start: int, kind: str, budget: int):
    """`ax` with the loss against the FLOPs spent, grown and from scratch; dotted where it grew."""
    place_growth(draw_growth(ax), sweep, start, kind, budget)
    ax.legend(loc="upper right")
    return ax


def draw_growth(ax) -> dict:
    """The empty lines that `place_growth` moves."""
    ax.set(xlim=(0, 102), ylim=(0.3, TOP))
    ax.set(xlabel="FLOPs spent (% of the budget)", ylabel="test loss (nats)")
    art = {"grown_at": ax.plot([], [], ":", color="0.5", marker="")[0]}
    for name, style, colour in (("from scratch", "s--", "black"), ("grown", "o-", "#D55E00")):
        art[name] = ax.plot([], [], style, color=colour, markersize=3, label=name)[0]
        art[name, "band"] = ax.fill_between([], [], color=colour, alpha=0.2, linewidth=0)
    return art


def place_growth(art: dict, sweep: Sweep, start: int, kind: str, budget: int) -> None:
    """Nothing: draws this run into what `draw_growth` returned."""
    for name, width in (("from scratch", sweep.end), ("grown", start)):
        flops, runs = sweep.curve(budget, width, kind)
        share = 100 * flops / budget
        art[name].set_data(share, np.median(runs, 0))
        art[name, "band"].set_data(share, runs.min(0), runs.max(0))
    at = [100 * flops / budget for flops in sweep.grown_at(budget, start, kind)]
    x = [point for flops in at for point in (flops, flops, np.nan)]
    art["grown_at"].set_data(x, [0, TOP, np.nan] * len(at))


def place_ends(art: tuple, sweep: Sweep, start: int, kind: str, budget: int) -> None:
    """Nothing: moves (points of all seeds, frame around the present start)."""
    points, frame = art
    ends = compute(sweep, start, kind, budget)["ends"]
    rows = [(i, loss) for i, s in enumerate(sweep.starts) for loss in ends[s]]
    points.set_data(*zip(*rows, strict=True))
    frame.set_data([sweep.starts.index(start)], [np.median(ends[start])])


def describe(sweep: Sweep, start: int, kind: str, budget: int) -> str:
    """The state in words: the widths on the way, the loss at the end, and the lead on scratch."""
    found = compute(sweep, start, kind, budget)
    ends, gain = found["ends"], found["gain"]
    way = " to ".join(map(str, found["widths"]))
    if start == sweep.end:
        told = f"width {start} from scratch ({kind} or others: nothing grows)"
        verdict = "the others are compared with it"
    else:
        told = f"width {way}, {kind}"
        verdict = f"{_verdict(gain)}, by {gain.min():+.2f} to {gain.max():+.2f} nats"
    return (
        f"{told}, {si(budget)}FLOP: test loss {_range(ends[start])}, accuracy "
        f"{np.median(found['accuracy']):.2f}. From scratch {_range(ends[sweep.end])}: {verdict}."
    )


def growing_explorer(sweep: Sweep) -> Explorer:
    """Controls for the first width, the copies and the budget: the loss as the network grows."""

    def setup(figure):
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        art = draw_growth(left)
        left.legend(loc="upper right")
        points = right.plot([], [], "o", color="0.4", markersize=4)[0]
        frame = right.plot([], [], "s", color="#D55E00", markersize=13, fillstyle="none")[0]
        right.set(xlim=(-0.5, len(sweep.starts) - 0.5), ylim=(0.3, TOP))
        right.set_xticks(range(len(sweep.starts)), sweep.starts)
        right.set(xlabel="first width (neurons)", ylabel="test loss at the end")
        return art, (points, frame)

    def update(art, **state):
        place_growth(art[0], sweep, **state)
        place_ends(art[1], sweep, **state)

    return Explorer(
        setup,
        update,
        lambda **state: describe(sweep, **state),
        figsize=(6.4, 3.0),
        start=choice("first width", sweep.starts, sweep.starts[0], unit="neurons"),
        kind=w.ToggleButtons(options=KINDS, value="unequal copies", description="growth"),
        budget=choice("budget", sweep.budgets, sweep.budgets[0], unit="FLOPs", format=si),
    )


def _verdict(gain):
    """What the differences to scratch, one a seed, say together."""
    if gain.min() > 0:
        return "growing wins on every seed"
    if gain.max() < 0:
        return "growing loses on every seed"
    return "growing wins on some seeds and loses on others"


def _range(runs):
    return f"{np.median(runs):.2f} ({runs.min():.2f} to {runs.max():.2f})"
