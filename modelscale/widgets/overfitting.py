"""The explorer of notebook 04: capacity, data, noise and ridge on a model solved in closed form."""

import numpy as np

from .. import check
from ..course.controls import choice
from ..course.explorer import Explorer
from ..laws.ridge import power_law_world, risk

SAMPLES = (50, 100, 200, 400)
CAPACITIES = (2, 3, 5, 7, 10, 14, 20, 28)  # features; all SAMPLES are among them
CAPACITIES += tuple(range(40, 130, 10)) + tuple(range(140, 240, 20))
CAPACITIES += (250, 280, 320, 360, 400, 440, 500, 600, 800, 1000)
NOISES = (0.0, 0.05, 0.2, 0.5, 1.0)
RIDGES = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)
TOP = 3.0  # of the picture; the peak without a ridge goes through it
FLAT = 0.01  # relative change of the test error to the next capacity that counts as none


def compute(capacity: int, n: int, noise: float, ridge: float) -> dict:
    """Errors along all capacities and at this one, the best capacity, and how the curve runs on.

    `test` and `train` (P,) belong to CAPACITIES; `here` is (test, train); errors are mean squared,
    in units of the variance of the clean label; `risen`, whether the test error has risen before.
    Raises: ValueError for a capacity not in the list.
    """
    found = risk(power_law_world(noise), n, CAPACITIES, ridge)
    at = CAPACITIES.index(check.one_of("capacity", capacity, CAPACITIES))
    following = found.test[min(at + 1, len(CAPACITIES) - 1)]
    return {
        "test": found.test,
        "train": found.train,
        "here": (found.test[at], found.train[at]),
        "risen": bool((found.test[1 : at + 1] > found.test[:at]).any()),
        "best": CAPACITIES[int(np.argmin(found.test))],
        "change": following / found.test[at] - 1 if np.isfinite(found.test[at]) else -1.0,
    }


def plot_errors(ax, capacity: int, n: int, noise: float, ridge: float):
    """`ax` with test and training error against capacity, the present one marked."""
    place_errors(draw_errors(ax), capacity, n, noise, ridge)
    ax.legend(loc="upper left")
    return ax


def draw_errors(ax) -> dict:
    """The empty lines that `place_errors` moves."""
    ax.set(xscale="log", xlim=(CAPACITIES[0], CAPACITIES[-1]), ylim=(-0.05, TOP))
    ax.set(xlabel="capacity (features)", ylabel="mean squared error")
    x, empty = CAPACITIES, np.full(len(CAPACITIES), np.nan)
    return {
        "test": ax.plot(x, empty, "-", marker="", color="#D55E00", label="test")[0],
        "train": ax.plot(x, empty, "--", marker="", color="#0072B2", label="training")[0],
        "noise": ax.axhline(0, linestyle=":", marker="", color="0.4", label="noise of a label"),
        "n": ax.axvline(1, linestyle="-.", marker="", color="0.4", label="features = samples"),
        "point": ax.plot([1], [0], "o", linestyle="", markersize=8, color="#D55E00")[0],
        "fitted": ax.plot([1], [0], "s", linestyle="", markersize=7, color="#0072B2")[0],
    }


def place_errors(art: dict, capacity: int, n: int, noise: float, ridge: float) -> None:
    """Nothing: moves what `draw_errors` returned; what lies above the picture stops at its top."""
    found = compute(capacity, n, noise, ridge)
    for name in ("test", "train"):
        art[name].set_ydata(np.minimum(found[name], 2 * TOP))
    art["noise"].set_ydata([noise, noise])
    art["n"].set_xdata([n, n])
    art["point"].set_data([capacity], [min(found["here"][0], 0.97 * TOP)])
    art["fitted"].set_data([capacity], [found["here"][1]])


def describe(capacity: int, n: int, noise: float, ridge: float) -> str:
    """The state in words: both errors, where on the curve it stands, and the best capacity."""
    found = compute(capacity, n, noise, ridge)
    test, train = found["here"]
    test_words = f"{test:.2f}" if np.isfinite(test) else "without bound"
    return (
        f"{capacity} features, {n} samples, noise {noise:g}, ridge {ridge:g}: test error "
        f"{test_words}, training error {train:.2f}: {_place(capacity, n, found)}. "
        f"Best capacity here: {found['best']} ({found['test'].min():.2f})."
    )


def overfitting_explorer() -> Explorer:
    """Controls for capacity, data, noise and ridge: both errors against capacity."""

    def setup(figure):
        ax = figure.subplots()
        art = draw_errors(ax)
        ax.legend(loc="upper left")
        return art

    return Explorer(
        setup,
        place_errors,
        describe,
        figsize=(5.2, 3.2),
        capacity=choice("capacity", CAPACITIES, 20, unit="features"),
        n=choice("data", SAMPLES, 100, unit="samples"),
        noise=choice("noise", NOISES, 0.2, unit="variance", format="{:g}".format),
        ridge=choice("ridge", RIDGES, 0.0, format="{:g}".format),
    )


def _place(capacity, n, found):
    """Where on the curve a capacity stands, from what the next larger one changes."""
    change = found["change"]
    if capacity == CAPACITIES[-1]:
        return "the largest model of this world"
    if abs(change) < FLAT:
        return "a larger model would change little"
    if change > 0:
        return "overfitted, and a larger model would be worse"
    if capacity < n or not found["risen"]:  # a strong ridge leaves no peak
        return "underfitted, and a larger model would be better"
    near = "at the peak" if capacity < 1.2 * n else "beyond the peak"
    return f"{near}, and a larger model would be better"
