"""The explorer of notebook 05: a source, a target size, and which method wins by how much.

Everything is read off two stored sweeps, between measured points on straight lines in the logarithm
of the labels, and never beyond them. Legend: S seeds, X numbers of labels.
"""

import json
from pathlib import Path

import numpy as np

from .. import check
from ..course.controls import choice
from ..course.explorer import Explorer

METHODS = {  # as the sweeps call them, and how the picture does
    "scratch": "scratch",
    "random features": "random features",
    "freeze 3": "linear probe",
    "freeze 2": "freeze 2",
    "freeze 1": "freeze 1",
    "fine-tune": "fine-tune",
    "probe, then fine-tune": "probe, then fine-tune",
    "LoRA": "LoRA",
}
UNTAUGHT = ("scratch", "random features")  # no source has a part in them
LOOK = {  # of the methods that are drawn against the labels, here and in the notebook
    "scratch": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "random features": {"color": "#CC79A7", "marker": "x", "linestyle": ":"},
    "freeze 3": {"color": "#0072B2", "marker": "s", "linestyle": "--"},
    "fine-tune": {"color": "#D55E00", "marker": "^", "linestyle": "-."},
}
ROWS = tuple(method for method in METHODS if method != "scratch")  # compared with scratch
PAIRS = {  # what the explorer calls a pair: (target, source of the second sweep)
    "letters to centred digits": ("digits", None),
    "letters to moved digits": ("moved digits", None),
    "40 templates to 10 others": ("signals", None),
    "10 templates to 10 others": ("signals", "10 templates"),
    "5 templates to 10 others": ("signals", "5 templates"),
    "2 templates to 10 others": ("signals", "2 templates"),
    "40 templates without smooth noise": ("signals", "40, no smooth noise"),
    "40 templates in few signals": ("signals", "40, 1,000 signals"),
    "40 templates with shuffled labels": ("signals", "40, labels shuffled"),
}
WIDTHS = {"digits": 8, "moved digits": 8, "signals": 24}
LABELS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100)
TICKS = (1, 2, 5, 10, 20, 50, 100)


class Sweep:
    """The results of experiments/transfer_ladder.py and transfer_sources.py."""

    def __init__(self, ladder, sources):
        first, second = (json.loads(Path(path).read_text()) for path in (ladder, sources))
        self.about = {k: first[k] for k in ("machine", "date", "seeds", "seconds", "lrs")}
        self.forgetting = {f["protection"]: f["target_source"] for f in second["forgetting"]}
        self.cells = {}  # (target, source, width, method) -> {labels: cell}
        for cell in [*first["cells"], *second["cells"]]:
            place = cell.get("target", "signals"), cell.get("source"), cell.get("width", 24)
            self.cells.setdefault((*place, cell["method"]), {})[cell["labels"]] = cell

    def curve(self, target: str, method: str, source=None, width=None) -> tuple:
        """(labels a class (X,), accuracies (S, X)) as measured; without the method, no labels.

        What is trained on no source of its own, scratch and random features, is that of the target.
        """
        source = None if method in UNTAUGHT else source
        found = self.cells.get((target, source, width or WIDTHS[target], method), {})
        labels = sorted(found)
        return labels, np.array([found[n]["test"] for n in labels]).T

    def chosen(self, target: str, method: str, labels: int, width=None) -> dict:
        """The stored cell: its learning rate, FLOPs, seconds and what the tuning draws said."""
        return self.cells[target, None, width or WIDTHS[target], method][labels]

    def runs(self, target: str, method: str, labels: float, source=None) -> np.ndarray:
        """The accuracy of every seed at (or between) measured points: (S,); nan beyond them."""
        at, values = self.curve(target, method, source)
        if not at or not at[0] <= labels <= at[-1]:
            return np.full(len(self.about["seeds"]), np.nan)
        return np.array([np.interp(np.log(labels), np.log(at), row) for row in values])


def compute(sweep: Sweep, pair: str, labels: int) -> dict:
    """Accuracies and gains of each method (S,), and the best of those that reuse.

    A gain is the difference to scratch, seed by seed. Methods that were not measured are left out.
    Raises: ValueError for a pair that is not there.
    """
    target, source = PAIRS[check.one_of("pair", pair, PAIRS)]
    found = {method: sweep.runs(target, method, labels, source) for method in METHODS}
    found = {method: runs for method, runs in found.items() if np.isfinite(runs).all()}
    reused = [method for method in found if method not in UNTAUGHT]
    return {
        "runs": found,
        "gains": {m: found[m] - found["scratch"] for m in found if m != "scratch"},
        "best": max(reused, key=lambda method: float(np.median(found[method]))),
    }


def plot_transfer(axes, sweep: Sweep, pair: str, labels: int):
    """The two `axes`: accuracies against the labels, and each method's gain on scratch at one."""
    place_transfer(draw_transfer(axes), sweep, pair, labels)
    return axes


def draw_transfer(axes) -> dict:
    """The empty lines that `place_transfer` moves."""
    curves, gains = axes
    curves.set(xscale="log", xlim=(0.85, 118), ylim=(0, 1.02))
    curves.set(xlabel="labels a class", ylabel="accuracy on the target")
    curves.set_xticks(TICKS, TICKS)
    curves.minorticks_off()
    art = {"labels": curves.axvline(1, color="0.6", linestyle=":", marker="")}
    for method, look in LOOK.items():
        art[method] = curves.plot([], [], label=METHODS[method], **look)[0]
    curves.legend(fontsize="x-small", loc="lower right")
    gains.set(xlim=(-0.36, 0.56), ylim=(len(ROWS) - 0.5, -0.5), xlabel="gain on scratch")
    gains.set_yticks(range(len(ROWS)), [METHODS[method] for method in ROWS], fontsize="x-small")
    gains.axvline(0, color="black", linestyle="-", linewidth=0.8, marker="")
    for method in ROWS:
        colour = LOOK.get(method, {"color": "#009E73"})["color"]
        dots = {"linestyle": "", "color": colour, "alpha": 0.5, "markersize": 4}
        art["seeds", method] = gains.plot([], [], marker="o", **dots)[0]
        art["median", method] = gains.plot([], [], marker="|", color=colour, markersize=13)[0]
    return art


def place_transfer(art: dict, sweep: Sweep, pair: str, labels: int) -> None:
    """Nothing: moves what `draw_transfer` returned; a dot is a seed, a stroke their median."""
    target, source = PAIRS[pair]
    gains = compute(sweep, pair, labels)["gains"]
    art["labels"].set_xdata([labels, labels])
    for method in LOOK:
        at, values = sweep.curve(target, method, source)
        art[method].set_data(at, np.median(values, 0) if at else [])
    for row, method in enumerate(ROWS):
        found = gains.get(method, np.array([]))
        art["seeds", method].set_data(found, [row] * len(found))
        middle = [np.median(found)] if len(found) else []
        art["median", method].set_data(middle, [row] * len(middle))


def describe(sweep: Sweep, pair: str, labels: int) -> str:
    """The state in words: whether reuse helps, the best method, and its lead on scratch."""
    found = compute(sweep, pair, labels)
    best, gain, runs = found["best"], found["gains"][found["best"]], found["runs"]
    return (
        f"{pair}, {labels} label{'s' if labels > 1 else ''} a class: {_verdict(gain)}. "
        f"Best of what reuses: {METHODS[best]}, {_range(runs[best])}; scratch "
        f"{_range(runs['scratch'])}; gain seed by seed {gain.min():+.2f} to {gain.max():+.2f}."
    )


def transfer_explorer(sweep: Sweep) -> Explorer:
    """Controls for the pair of source and target and for the labels: every method's accuracy."""
    return Explorer(
        lambda figure: draw_transfer(figure.subplots(1, 2, width_ratios=(1.2, 1))),
        lambda art, **state: place_transfer(art, sweep, **state),
        lambda **state: describe(sweep, **state),
        figsize=(6.8, 3.4),
        pair=choice("source and target", tuple(PAIRS), "letters to moved digits"),
        labels=choice("labels", LABELS, 5, unit="a class"),
    )


def _verdict(gain):
    """What the differences to scratch, one a seed, say together."""
    if gain.min() > 0:
        return "pretraining helps on every seed"
    if gain.max() < 0:
        return "pretraining hurts on every seed"
    return "pretraining helps on some seeds, not on all"


def _range(runs):
    return f"{np.median(runs):.2f} ({runs.min():.2f} to {runs.max():.2f})"
