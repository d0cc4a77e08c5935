"""Notebook 05: its explorer of a model solved in closed form, and the checkers of its exercises."""

from dataclasses import replace

import numpy as np
import torch

from ..laws.ridge import power_law_world, risk
from . import Explorer, choice, exercise, letter

SAMPLES = (50, 100, 200, 400)
CAPACITIES = (2, 3, 5, 7, 10, 14, 20, 28)  # features; all SAMPLES are among them
CAPACITIES += tuple(range(40, 130, 10)) + tuple(range(140, 240, 20))
CAPACITIES += (250, 280, 320, 360, 400, 440, 500, 600, 800, 1000)
NOISES = (0.0, 0.05, 0.2, 0.5, 1.0)
RIDGES = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)
TOP = 3.0  # of the picture; the peak without a ridge goes through it
FLAT = 0.01  # relative change of the test error to the next capacity that counts as none

check_errors_below_the_peak = exercise(
    "fitting removes one direction of the noise for each feature, p of n; what was fitted is wrong "
    "for new samples, and the test error rises by the factor by which the training error falls.",
    name="errors_below_the_peak",
    cases=[(100, 20, 0.5), (400, 300, 2.0), (1000, 10, 0.1)],
    reference=lambda n, p, noise: (noise * (1 - p / n), noise / (1 - p / n)),
)


def _kept(losses, patience):
    """The record whose weights early stopping keeps."""
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        elif step - best >= patience:
            break
    return best


check_early_stop = exercise(
    "keep the best loss so far and when it was; stop once `patience` records came after it.",
    name="early_stop",
    cases=[
        ([3.0, 2.0, 1.5, 1.8, 1.9, 2.5], 2),
        ([3.0, 2.0, 2.1, 1.2, 1.3, 1.4, 0.9], 2),  # it never gets to see the last
        ([3.0, 2.0, 2.1, 1.2, 1.3, 1.4, 0.9], 3),
        ([3.0, 2.9, 2.8], 1),
        ([1.0, 2.0, 3.0, 4.0, 0.5], 3),
        ([1.0, 3.0, 2.0, 2.5, 0.5], 3),  # not to be counted anew at each fall
        ([2.0, 1.0, 3.0, 0.9, 1.0], 2),  # nor from before the best
    ],
    reference=_kept,
)
check_culprit = letter(
    "which of them would look the same however large the test set is?",
    right="c",
    wrong={
        "a": "its report holds on fresh signals, and next to none of its test signals has a twin.",
        "b": "its report is a little too good, yet next to none of its test signals has a twin: "
        "it chose network and step on the test set.",
    },
)


def splits(team, task, seed):
    """The data set that a team made of `task`. It stands here so that symptoms have to be read."""
    rng, copies = torch.Generator().manual_seed(seed), 4 if team == "c" else 1
    x, y = task.x_train.repeat(copies, 1), task.y_train.repeat(copies)
    if copies > 1:  # team c copies first, and splits then
        x = x + 0.3 * torch.randn(x.shape, generator=rng)
    rows = torch.randperm(len(x), generator=rng)
    train, test = rows[len(x) // 5 :], rows[: len(x) // 5]
    return replace(task, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])


def reported(team, histories) -> tuple[int, float]:
    """Which network a team reports, and its accuracy: team b's is the best record of all."""
    best = [max(history.accuracy) for history in histories]
    return (best.index(max(best)), max(best)) if team == "b" else (0, histories[0].accuracy[-1])


def overfitting_explorer() -> Explorer:
    """Controls for capacity, data, noise and ridge: both errors against capacity."""
    return Explorer(
        _setup,
        _update,
        _describe,
        figsize=(5.2, 3.2),
        capacity=choice("capacity", CAPACITIES, 20, unit="features"),
        n=choice("data", SAMPLES, 100, unit="samples"),
        noise=choice("noise", NOISES, 0.2, unit="variance", format="{:g}".format),
        ridge=choice("ridge", RIDGES, 0.0, format="{:g}".format),
    )


def _setup(figure):
    ax = figure.subplots()
    ax.set(xscale="log", xlim=(CAPACITIES[0], CAPACITIES[-1]), ylim=(-0.05, TOP))
    ax.set(xlabel="capacity (features)", ylabel="mean squared error")
    art, empty = {}, np.full(len(CAPACITIES), np.nan)
    for name, line, point, color in (
        ("test", "-", "o", "#D55E00"),
        ("training", "--", "s", "#0072B2"),
    ):
        (curve,) = ax.plot(CAPACITIES, empty, line, marker="", color=color, label=name)
        art[name] = curve, ax.plot([], [], point, markersize=8, color=color)[0]
    style = {"marker": "", "color": "0.4"}
    art["noise"] = ax.axhline(0, linestyle=":", label="noise of a label", **style)
    art["n"] = ax.axvline(1, linestyle="-.", label="features = samples", **style)
    ax.legend(loc="upper left")
    return art


def _update(art, capacity, n, noise, ridge):
    found, at = risk(power_law_world(noise), n, CAPACITIES, ridge), CAPACITIES.index(capacity)
    for name, errors in (("test", found.test), ("training", found.train)):
        curve, point = art[name]  # what lies above the picture stops at its top
        curve.set_ydata(np.minimum(errors, 2 * TOP))
        point.set_data([capacity], [min(errors[at], 0.97 * TOP)])
    art["noise"].set_ydata([noise, noise])
    art["n"].set_xdata([n, n])


def _describe(capacity, n, noise, ridge):
    found, at = risk(power_law_world(noise), n, CAPACITIES, ridge), CAPACITIES.index(capacity)
    test = f"{found.test[at]:.2f}" if np.isfinite(found.test[at]) else "without bound"
    best = int(np.argmin(found.test))
    return (
        f"{capacity} features, {n} samples, noise {noise:g}, ridge {ridge:g}: test error {test}, "
        f"training error {found.train[at]:.2f}: {_place(at, n, found.test)}. "
        f"Best capacity here: {CAPACITIES[best]} ({found.test[best]:.2f})."
    )


def _place(at, n, test):
    """Where on the curve a capacity stands, from what the next larger one changes."""
    if at == len(CAPACITIES) - 1:
        return "the largest model of this world"
    change = test[at + 1] / test[at] - 1
    if abs(change) < FLAT:
        return "a larger model would change little"
    if change > 0:
        return "overfitted, and a larger model would be worse"
    where = "underfitted"
    if CAPACITIES[at] >= n and (np.diff(test[: at + 1]) > 0).any():  # a strong ridge has no peak
        where = "at the peak" if CAPACITIES[at] < 1.2 * n else "beyond the peak"
    return f"{where}, and a larger model would be better"
