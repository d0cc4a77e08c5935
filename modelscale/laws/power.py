"""The power law y = E + A x^-alpha: its fit, its bootstrap, and the interval of a new run."""

from dataclasses import dataclass

import numpy as np

from .. import check
from . import search
from .determined import undetermined
from .points import enough, measured, threshold
from .resample import refits, resampled_noise

NAMES = ("E", "A", "alpha")
REMEDY = "Measure at more sizes, spread over a factor of ten or more."


@dataclass(frozen=True)
class PowerLaw:
    """The law y = E + A x^-alpha."""

    E: float  # what is left for x without end
    A: float  # in units of y times x^alpha
    alpha: float
    undetermined: tuple[str, ...] = ()  # parameters that the fitted points do not determine

    def predict(self, x) -> np.ndarray:
        """y at x, of the shape of x."""
        return self.E + self.A * np.asarray(x, dtype=float) ** -self.alpha


def fit_power_law(x, y, floor: bool = True, delta: float = 1e-3) -> PowerLaw:
    """The power law with the lowest sum of Huber losses on log y: the global minimum.

    `floor=False` fixes E at 0. `undetermined` names the parameters that the points leave open: the
    value is the best one, and predictions among the points hold, but another value fits as well.
    The exponent lies between 0 and 40 over the log span of x, 10 at most. Several y at one x are
    seeds: give them all.

    Raises: ValueError for values that are not positive and finite, unequal lengths, or too few
    different x: four (without a floor, three).
    Source: Hoffmann 2022, section 3.3, for the objective.
    Taught in: 02_scaling_laws.
    """
    points, scale = _scaled(x, y, floor, delta)
    best = search.best_fit(points, floor)
    open_ = undetermined(points, best, floor)
    names = tuple(name for name, is_open in zip(NAMES, open_, strict=True) if is_open)
    return PowerLaw(*map(float, scale.constants(best[None])[0]), names)


def bootstrap_power_law(
    x, y, n: int = 1000, seed: int = 0, floor: bool = True, delta: float = 1e-3
) -> list[PowerLaw]:
    """`n` power laws, each fitted to the fit's own values plus its residuals drawn again.

    Points are not drawn: among a few sizes of a few seeds, many draws would miss a size, most often
    an end of the range, and the law would be fitted to less than was measured. None of these fits
    is asked what it leaves open: `undetermined` is empty.

    Raises: ValueError as `fit_power_law`.
    Source: Efron 1979 (the bootstrap of residuals).
    Taught in: 02_scaling_laws.
    """
    points, scale = _scaled(x, y, floor, delta)
    theta, _ = _resampled(points, n, seed, floor)
    return [PowerLaw(*map(float, constants)) for constants in scale.constants(theta)]


def predict_interval(
    x,
    y,
    at,
    n: int = 1000,
    seed: int = 0,
    floor: bool = True,
    level: float = 0.9,
    delta: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high): where y of one new run at `at` falls with probability `level`.

    Each of `n` refitted laws predicts, and a residual drawn again is added in log y: so the
    interval holds what is not known of the law, and the noise of the new run. It does not hold a
    law of another form beyond the points. How often it holds a run four times larger is in
    notebooks/results/law_coverage.json.

    Shapes: at any -> two of the same.
    Raises: ValueError as `fit_power_law`, for an `at` that is not positive, or a level not in 0..1.
    Source: Davison and Hinkley 1997, chapter 6 (prediction).
    Taught in: 02_scaling_laws.
    """
    if not 0 < check.number("level", level) < 1:
        raise ValueError(f"level={level!r}: it must lie between 0 and 1. Give 0.9 for 90 %.")
    points, scale = _scaled(x, y, floor, delta)
    theta, fresh = _resampled(points, n, seed, floor)
    (flat,) = measured(at=at)
    E, A, alpha = scale.constants(theta).T[:, :, None]
    runs = (E + A * flat**-alpha) * np.exp(fresh[:, None])
    low, high = np.quantile(runs, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low.reshape(np.shape(at)), high.reshape(np.shape(at))


def _resampled(points, n, seed, floor):
    """The parameters of `n` refits, and the noise of a new run beside each."""
    rng = np.random.default_rng(seed)
    best = search.best_fit(points, floor)
    resampled, fresh = resampled_noise(points, best, check.integer("n", n), rng)
    return refits(resampled, points, n, floor), fresh


def _scaled(x, y, floor, delta):
    check.one_of("floor", floor, (True, False))
    x, y = measured(x=x, y=y)
    enough(4 if floor else 3, "x", x, REMEDY)
    return search.scaled([x], y, threshold(delta))
