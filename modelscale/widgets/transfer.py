"""The explorer of notebook 05: a source, a target size, and which method wins by how much.

Everything is read off two stored sweeps, between measured points on straight lines in the logarithm
of the labels, and never beyond them. Legend: S seeds.
"""

import json
from pathlib import Path

import numpy as np

from .. import check
from .controls import choice
from .explorer import Explorer

STYLES = {  # method: its name in the picture, its line
    "scratch": ("scratch", "ko-"),
    "random features": ("random features", "x:"),
    "freeze 3": ("linear probe", "s--"),
    "fine-tune": ("fine-tune", "^-"),
    "probe, then fine-tune": ("probe, then fine-tune", "D-."),
    "LoRA": ("LoRA", "v--"),
}
COLOURS = ("black", "0.5", "#0072B2", "#D55E00", "#009E73", "#CC79A7")
PAIRS = {  # what the explorer calls a pair: (target, source of the second sweep)
    "letters to centred digits": ("digits", None),
    "letters to moved digits": ("moved digits", None),
    "40 templates to 10 others": ("signals", None),
    "10 templates to 10 others": ("signals", "10 templates"),
    "5 templates to 10 others": ("signals", "5 templates"),
    "2 templates to 10 others": ("signals", "2 templates"),
    "40 templates without smooth noise": ("signals", "40, no smooth noise"),
    "40 templates, labels shuffled": ("signals", "40, labels shuffled"),
}
WIDTHS = {"digits": 8, "moved digits": 8, "signals": 24}
LABELS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100)


class Sweep:
    """The results of experiments/transfer_ladder.py and transfer_sources.py."""

    def __init__(self, ladder, sources):
        stored = [json.loads(Path(path).read_text()) for path in (ladder, sources)]
        self.about = {key: stored[0][key] for key in ("machine", "date", "seeds", "seconds")}
        self.forgetting = {f["protection"]: f["target_source"] for f in stored[1]["forgetting"]}
        self.cells = {
            (c.get("target", "signals"), c.get("source"), c.get("width", 24), c["method"]): {}
            for c in [*stored[0]["cells"], *stored[1]["cells"]]
        }
        for c in [*stored[0]["cells"], *stored[1]["cells"]]:
            key = c.get("target", "signals"), c.get("source"), c.get("width", 24), c["method"]
            self.cells[key][c["labels"]] = c

    def curve(self, target: str, method: str, source=None, width=None) -> tuple:
        """(labels a class (X,), accuracies (S, X)) as measured; without the method, no labels.

        What is trained on no source of its own, scratch and random features, is that of the target.
        """
        source = None if method in ("scratch", "random features") else source
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
    """The runs of each method (S,), the best method, and what it is ahead of scratch by.

    A gain is a difference seed by seed: (S,). Methods that were not measured here are left out.
    Raises: ValueError for a pair that is not there.
    """
    target, source = PAIRS[check.one_of("pair", pair, PAIRS)]
    found = {method: sweep.runs(target, method, labels, source) for method in STYLES}
    found = {method: runs for method, runs in found.items() if np.isfinite(runs).all()}
    reused = [m for m in found if m not in ("scratch", "random features")]
    best = max(reused, key=lambda method: float(np.median(found[method])))
    return {"runs": found, "best": best, "gain": found[best] - found["scratch"]}


def plot_transfer(ax, sweep: Sweep, pair: str, labels: int):
    """`ax` with the accuracy of every method against the labels, the present number marked."""
    place_transfer(draw_transfer(ax), sweep, pair, labels)
    ax.legend(fontsize="x-small", loc="lower right")
    return ax


def draw_transfer(ax) -> dict:
    """The empty lines that `place_transfer` moves."""
    ax.set(xscale="log", xlim=(0.85, 118), ylim=(0, 1.02))
    ax.set(xlabel="labels a class", ylabel="accuracy on the target")
    ax.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    ax.minorticks_off()
    art = {"labels": ax.axvline(1, color="0.6", linestyle=":", marker="")}
    for (method, (name, style)), colour in zip(STYLES.items(), COLOURS, strict=True):
        style = style.replace("k", "")
        art[method] = ax.plot([], [], style, color=colour, markersize=4, label=name)[0]
        art[method, "range"] = ax.plot([], [], "-", color=colour, marker="", linewidth=4, alpha=0.4)
        art[method, "range"] = art[method, "range"][0]
    return art


def place_transfer(art: dict, sweep: Sweep, pair: str, labels: int) -> None:
    """Nothing: moves what `draw_transfer` returned; bars span the seeds at this many labels."""
    target, source = PAIRS[pair]
    found = compute(sweep, pair, labels)["runs"]
    art["labels"].set_xdata([labels, labels])
    for i, method in enumerate(STYLES):
        at, values = sweep.curve(target, method, source)
        art[method].set_data(at, np.median(values, 0) if at else [])
        runs, x = found.get(method), labels * 1.03 ** (i - 2.5)  # side by side
        ends = [] if runs is None else [runs.min(), runs.max()]
        art[method, "range"].set_data([x] * len(ends), ends)


def describe(sweep: Sweep, pair: str, labels: int) -> str:
    """The state in words: the best method, its accuracy, and its lead on scratch."""
    found = compute(sweep, pair, labels)
    runs, gain = found["runs"], found["gain"]
    best, scratch = runs[found["best"]], runs["scratch"]
    return (
        f"{pair}, {labels} label{'s' if labels > 1 else ''} a class: {_verdict(gain)}. "
        f"Best of what reuses: {STYLES[found['best']][0]}, {_range(best)}; scratch "
        f"{_range(scratch)}; difference seed by seed {gain.min():+.2f} to {gain.max():+.2f}."
    )


def transfer_explorer(sweep: Sweep) -> Explorer:
    """Controls for the pair of source and target and for the labels: every method's accuracy."""

    def setup(figure):
        ax = figure.subplots()
        art = draw_transfer(ax)
        ax.legend(fontsize="x-small", loc="lower right")
        return art

    return Explorer(
        setup,
        lambda art, **state: place_transfer(art, sweep, **state),
        lambda **state: describe(sweep, **state),
        figsize=(5.4, 3.6),
        pair=choice("source and target", tuple(PAIRS), "letters to moved digits"),
        labels=choice("labels", LABELS, 5, unit="a class"),
    )


def _verdict(gain):
    """What the differences to scratch, one a seed, say together."""
    if gain.min() > 0:
        return "pretraining helps on every seed"
    if gain.max() < 0:
        return "pretraining hurts on every seed"
    return "pretraining helps on some seeds and hurts on others"


def _range(runs):
    return f"{np.median(runs):.2f} ({runs.min():.2f} to {runs.max():.2f})"
