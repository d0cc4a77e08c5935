"""Of notebook 06: its explorer, the colleagues of its break-it lab, and its checkers.

Legend: S seeds, X numbers of labels.
"""

import copy
from dataclasses import replace

import numpy as np
import torch

from . import Explorer, Sweep, choice, exercise, letter
from .explorer import spread

ROWS = ["random features", "freeze 3", "freeze 2", "freeze 1", "fine-tune"]  # of the right panel
ROWS += ["probe, then fine-tune", "LoRA"]
METHODS = {name: name for name in ("scratch", *ROWS)} | {"freeze 3": "linear probe"}  # in pictures
UNTAUGHT = ("scratch", "random features")  # no source has a part in them
LOOK = {  # of the methods that are drawn against the labels, here and in the notebook
    "scratch": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "random features": {"color": "#CC79A7", "marker": "x", "linestyle": ":"},
    "freeze 3": {"color": "#0072B2", "marker": "s", "linestyle": "--"},
    "fine-tune": {"color": "#D55E00", "marker": "^", "linestyle": "-."},
}
PAIRS = {  # what the explorer calls a pair: (target, source of the second sweep)
    "letters to centred digits": ("digits", None),
    "letters to moved digits": ("moved digits", None),
    "40 shapes to 10 others": ("signals", None),
    "10 shapes to 10 others": ("signals", "10 templates"),
    "5 shapes to 10 others": ("signals", "5 templates"),
    "2 shapes to 10 others": ("signals", "2 templates"),
    "40 shapes without smooth noise": ("signals", "40, no smooth noise"),
    "40 shapes in few signals": ("signals", "40, 1,000 signals"),
    "40 shapes with shuffled labels": ("signals", "40, labels shuffled"),
}
WIDTHS = {"digits": 8, "moved digits": 8, "signals": 24}  # of the networks of each target


class Sweeps:
    """The accuracies of experiments/transfer_ladder.py and transfer_sources.py, on their targets.

    `ladder` and `sources` are the two sweeps. `source` is one of the second; scratch and random
    features know none: theirs are always the ladder's.
    """

    def __init__(self, folder: str = "results"):
        keys = ("labels", "method")
        self.ladder = Sweep(f"{folder}/transfer_ladder.json", "target", "width", *keys)
        self.sources = Sweep(f"{folder}/transfer_sources.json", "source", *keys)

    def cell(self, target: str, method: str, labels: int, source=None) -> dict | None:
        """What is stored of a method, None where it was not measured."""
        if source and method not in UNTAUGHT:
            return self.sources.cells.get((source, labels, method))
        return self.ladder.cells.get((target, WIDTHS[target], labels, method))

    def runs(self, target: str, method: str, labels: int, source=None) -> np.ndarray:
        """The accuracy of every seed (S,); of none where it was not measured."""
        cell = self.cell(target, method, labels, source)
        return np.array(cell["test"] if cell else [])

    def curve(self, target: str, method: str, source=None) -> tuple[list[int], np.ndarray]:
        """(the labels that were measured (X,), accuracies (S, X))."""
        labels = [n for n in self.ladder.values["labels"] if self.cell(target, method, n, source)]
        return labels, np.array([self.runs(target, method, n, source) for n in labels]).T


def transfer_explorer(sweeps: Sweeps) -> Explorer:
    """Controls for the pair of source and target and for the labels: every method's accuracy."""
    return Explorer(
        _setup,
        lambda art, **state: _update(art, sweeps, **state),
        lambda **state: _describe(sweeps, **state),
        figsize=(6.8, 3.4),
        pair=choice("source and target", tuple(PAIRS), "letters to moved digits"),
        labels=choice("labels", (1, 5, 20, 100), 5, unit="a class"),
    )


def colleagues(fine_tuned, scratch, task) -> list:
    """(network, task it is tested on) that each of four colleagues sends, a to d."""
    renamed, order = copy.deepcopy(fine_tuned), torch.arange(10).roll(3)
    with torch.no_grad():
        for parameter in renamed.head.parameters():
            parameter.copy_(parameter[order].clone())
    inverted = replace(task, x_test=-task.x_test)
    return [(fine_tuned, task), (renamed, task), (scratch, task), (fine_tuned, inverted)]


check_culprit = letter(
    "what is still right in each network? Answers in another order, and images prepared in another "
    "way, leave its features as they are.",
    right="c",
    wrong={
        "a": "it is right on most test images and still knows much of its letters: it is sound.",
        "b": "far below guessing is not ignorance: it tells digits apart and names them in another "
        "order. Sorting its outputs repairs it.",
        "d": "it remembers as much of letters as a sound one: its weights are in order, "
        "its test images are not. Preparing them as in training repairs it.",
    },
)
check_lora_params = exercise(
    "A takes the inputs down to `rank` numbers, B takes those up to the outputs.",
    name="lora_params",
    cases=[(768, 768, 8), (40, 100, 4), (4096, 512, 1)],
    reference=lambda n_in, n_out, rank: rank * (n_in + n_out),
)
check_probe_flops = exercise(
    "the frozen part goes forward once for each of the n samples; the head goes forward and gets "
    "the gradient of its weights, as expensive again, on each of the steps * batch samples.",
    name="probe_flops",
    cases=[(10**6, 10**4, 50, 200, 32), (2 * 10**9, 10**6, 1000, 10, 100), (5000, 4000, 10, 7, 10)],
    reference=lambda body, head, n, steps, batch: n * body + 2 * steps * batch * head,
)


def _setup(figure):
    curves, gains = figure.subplots(1, 2, width_ratios=(1.2, 1))
    curves.set(xscale="log", xlim=(0.85, 118), ylim=(0, 1.02))
    curves.set(xlabel="labels a class", ylabel="accuracy on the target")
    curves.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    curves.minorticks_off()
    art = {"labels": curves.axvline(1, color="0.6", linestyle=":", marker="")}
    for method, look in LOOK.items():
        art[method] = curves.plot([], [], label=METHODS[method], **look)[0]
    curves.legend(fontsize="x-small", loc="lower right")
    gains.set(xlim=(-0.36, 0.56), ylim=(len(ROWS) - 0.5, -0.5), xlabel="gain on scratch")
    gains.set_yticks(range(len(ROWS)), [METHODS[method] for method in ROWS], fontsize="x-small")
    gains.axvline(0, color="black", linestyle="-", linewidth=0.8, marker="")
    art["seeds"] = gains.plot([], [], "o", color="0.4", alpha=0.5, markersize=4)[0]
    art["medians"] = gains.plot([], [], "|", color="#D55E00", markersize=13)[0]
    return art


def _update(art, sweeps, pair, labels):
    """Move the curves, and the gains at `labels`: a dot is a seed, a stroke their median."""
    target, source = PAIRS[pair]
    art["labels"].set_xdata([labels, labels])
    for method in LOOK:
        at, runs = sweeps.curve(target, method, source)
        art[method].set_data(at, np.median(runs, 0))
    gains = _gains(sweeps, pair, labels)
    rows, found = [ROWS.index(method) for method in gains], np.array(list(gains.values()))
    art["seeds"].set_data(found.ravel(), np.repeat(rows, found.shape[1]))
    art["medians"].set_data(np.median(found, 1), rows)


def _gains(sweeps, pair, labels):
    """{method: the difference to scratch, seed by seed (S,)} of what was measured."""
    target, source = PAIRS[pair]
    scratch = sweeps.runs(target, "scratch", labels)
    found = {method: sweeps.runs(target, method, labels, source) for method in ROWS}
    return {method: runs - scratch for method, runs in found.items() if len(runs)}


def _describe(sweeps, pair, labels):
    """Whether reuse helps, the best method that reuses, and its lead on scratch, in words."""
    gains = _gains(sweeps, pair, labels)
    best = max((m for m in gains if m not in UNTAUGHT), key=lambda m: np.median(gains[m]))
    gain, scratch = gains[best], sweeps.runs(PAIRS[pair][0], "scratch", labels)
    some = "pretraining helps on some seeds, not on all"
    always = {5: "pretraining helps on every seed", -5: "pretraining hurts on every seed"}
    return (
        f"{pair}, {labels} label{'s' if labels > 1 else ''} a class: "
        f"{always.get(np.sign(gain).sum(), some)}. Best of what reuses: {METHODS[best]}, "
        f"{spread(gain + scratch)}; scratch {spread(scratch)}; gain seed by seed "
        f"{gain.min():+.2f} to {gain.max():+.2f}."
    )
