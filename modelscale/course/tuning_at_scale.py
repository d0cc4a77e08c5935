"""Notebook 04: its explorer of a stored sweep, the checkers of its exercises, and its bug.

Legend: R learning rates, S seeds, W widths.
"""

import math

import ipywidgets as w
import numpy as np

from .. import count, tuning
from . import Explorer, choice, exercise, letter

KINDS = {"standard": ("standard", "#0072B2", "-o"), "mup": ("muP", "#D55E00", "--s")}
TOP, BOTTOM = 2.4, 1.0  # of the loss axis, in nats; guessing costs ln 10 = 2.30

ROLES = ("input", "hidden", "output", "vector")

check_factor = exercise(
    "it is a row of the table: with Adam, hidden and output weights divide by the growth of "
    "fan_in; with SGD, inputs and vectors multiply by the growth of fan_out, outputs divide.",
    name="factor",
    cases=[(role, way, m) for way in ("adamw", "sgd") for role in ROLES for m in (1, 4, 16)],
    reference=lambda role, way, m: next(
        getattr(rule, way)
        for rule in tuning.rules(count.MLP(3, 16 * m), count.MLP(3, 16)).values()
        if rule.role == role
    ),
)
check_attention_scale = exercise(
    "muP divides q . k by the head size, times whatever makes it 1 / sqrt(size) at the base.",
    name="attention_scale",
    cases=[(64, 64), (128, 32), (16, 32), (100, 25)],
    reference=lambda size, base: math.sqrt(base) / size,
)
check_vertex = exercise(
    "through (-1, left), (0, middle) and (1, right) goes a x^2 + b x + middle with "
    "a = (left + right) / 2 - middle and b = (right - left) / 2; where is its slope zero?",
    name="best_of_three",
    cases=[(-5, 3.0, 1.0, 3.0), (-7, 2.0, 1.5, 1.6), (3, 1.2, 1.0, 1.9)],
    reference=lambda k, *losses: tuning.best_lr([2.0 ** (k + i) for i in (-1, 0, 1)], losses),
)
check_forgotten = letter(
    "which layer is the first whose change grows, and what does its size at step 0 say?",
    right="b",
    wrong={
        "a": "the sizes at step 0 are those of the sound network: the initial weights are right.",
        "c": "layers 1 and 2 change as much in wide networks as in narrow ones after one step.",
        "d": "the input layer's change is flat, and under Adam its rate needs no factor.",
    },
)


def suspect(make):
    """`make`, a function of width and seed that gives (network, rate factors), with a bug.

    It stands here and not in the notebook, so that its symptom has to be read.
    """

    def with_bug(width, seed):
        network, factors = make(width, seed)
        last = [name for name in factors if name.endswith("weight")][-1]
        return network, factors | {last: 1.0}

    return with_bug


def tuning_explorer(sweep) -> Explorer:
    """Controls for optimizer, parametrisation, width and rate over a stored sweep."""
    lrs, widths = sweep.values["lr"], sweep.values["width"]

    def runs(**place):
        return np.stack([sweep.runs("loss", lr=lr, **place) for lr in lrs], 1)  # (S, R)

    def update(parts, optimizer, kind, width, lr):
        lines, (image, best), point, frame = parts
        for name, line in lines.items():
            _place_band(line, lrs, runs(optimizer=optimizer, kind=name, width=width))
        rows = [np.median(runs(optimizer=optimizer, kind=kind, width=v), 0) for v in widths]
        image.set_data([np.minimum(row - row.min(), 1) for row in rows])
        best.set_xdata(np.argmin(rows, 1))
        loss = rows[widths.index(width)][lrs.index(lr)]
        point.set_data([lr], [min(loss, TOP - 0.03)])
        frame.set_data([lrs.index(lr)], [widths.index(width)])

    def describe(optimizer, kind, width, lr):
        here, narrow = (
            np.median(runs(optimizer=optimizer, kind=kind, width=v), 0) for v in (width, widths[0])
        )
        loss, cost = here[lrs.index(lr)], here[narrow.argmin()] - here.min()
        lost = f"costs {cost:.2f} nats" if math.isfinite(cost) else "diverges"
        return (
            f"{KINDS[kind][0]}, {optimizer}, width {width}, rate {_power(lr)}: {_nats(loss)}. "
            f"Best at this width: {_nats(here.min())} at {_power(lrs[here.argmin()])}. The rate "
            f"tuned at width {widths[0]}, {_power(lrs[narrow.argmin()])}, {lost} here."
        )

    return Explorer(
        lambda figure: _setup(figure, lrs, widths),
        update,
        describe,
        figsize=(6.8, 3.0),
        optimizer=w.ToggleButtons(options=sweep.values["optimizer"], description="optimizer"),
        kind=w.ToggleButtons(options=[(v[0], k) for k, v in KINDS.items()], description="weights"),
        width=choice("width", widths, widths[-1], unit="neurons"),
        lr=choice("learning rate", lrs, lrs[len(lrs) // 2], format=_power),
    )


def _setup(figure, lrs, widths):
    left, right = figure.subplots(1, 2)
    lines = {}
    for kind, (name, color, style) in KINDS.items():
        (line,) = left.plot([], [], style, color=color, label=name)
        band = left.fill_between([], [], color=color, alpha=0.2, linewidth=0)
        (star,) = left.plot([], [], "*", color=color, markersize=11)
        lines[kind] = line, band, star
    left.set_xscale("log", base=2)
    left.set(xlabel="learning rate", ylabel="training loss (nats)", ylim=(BOTTOM, TOP))
    left.set_xlim(lrs[0] / 1.3, lrs[-1] * 1.3)
    left.legend(loc="upper left")
    image = right.imshow(np.zeros((len(widths), len(lrs))), vmin=0, vmax=1, aspect="auto")
    (best,) = right.plot(range(len(widths)), range(len(widths)), "-*", color="white", markersize=10)
    right.set_xticks(range(0, len(lrs), 3), [f"$2^{{{round(math.log2(lr))}}}$" for lr in lrs[::3]])
    right.set_yticks(range(len(widths)), widths)
    right.set(xlabel="learning rate", ylabel="width")
    right.grid(False)
    figure.colorbar(image, ax=right, label="nats above the row's best")
    (point,) = left.plot([], [], "o", color="black", markersize=9, fillstyle="none")
    (frame,) = right.plot([], [], "s", color="#D55E00", markersize=13, fillstyle="none")
    return lines, (image, best), point, frame


def _place_band(parts, lrs, runs):
    line, band, star = parts
    losses = np.median(runs, 0)
    runs = np.minimum(runs, 10 * TOP)  # what diverged lies above the picture
    line.set_data(lrs, np.minimum(losses, 10 * TOP))
    band.set_data(lrs, runs.min(0), runs.max(0))
    star.set_data([lrs[losses.argmin()]], [losses.min()])


def _power(lr):
    return f"2^{round(math.log2(lr))}"


def _nats(loss):
    return f"{loss:.2f} nats" if math.isfinite(loss) else "diverged"
