"""Which parameters the data determine: what the fit loses when one of them is moved away.

A parameter is held at another value and all others are fitted again. How much the score rises,
over what noise alone would make of it, is a likelihood ratio for M-estimates: in large samples a
chi-square with as many degrees of freedom as parameters were held.

Legend: n points, m power terms, q = 1 + 2m parameters (E, a_1..a_m, alpha_1..alpha_m).
"""

import math

import numpy as np

from .solve import ABSENT, Points, descend, residuals, score

ONE = 2.71  # 90 % of a chi-square with one degree of freedom
FACTOR = 2.0  # an exponent that may as well be half or twice as large is not determined
SHARE = 0.5  # nor is a floor that may as well be moved by this share of the smallest value


def undetermined(points: Points, best: np.ndarray, floor: bool = True) -> list[bool]:
    """Whether each of the q parameters is undetermined, at the best fit (q,).

    A term, its size and its exponent, is where half or twice the exponent costs no more than noise
    would: so is one that is not there, or whose exponent is at a bound. The floor is where moving
    it by half of the smallest value costs no more.
    """
    m = len(points.x)
    terms = range(1, 1 + m)
    trials = [{k + m: best[k + m] * f} for k in terms for f in (1 / FACTOR, FACTOR)]
    trials += [_other_floor(points, best)] if floor else []
    found = [False] * (1 + 2 * m)
    for held, cost in zip(trials, costs_of(points, best, trials, floor), strict=True):
        for index in held if cost < ONE else ():
            found[index] = True
    for k in terms:
        found[k] = found[k + m]
    return found


def costs_of(points: Points, best: np.ndarray, trials: list[dict], floor: bool = True) -> list:
    """The likelihood ratio of each trial: parameters held, {index: value}, the others fitted."""
    q = len(best)
    starts = np.repeat(_starts(best, floor)[None], len(trials), axis=0)  # (trials, starts, q)
    free = np.ones(starts.shape, dtype=bool)
    free[:, :, 0] = floor
    for row, held in enumerate(trials):
        for index, value in held.items():
            starts[row, :, index], free[row, :, index] = value, False
    _, scores = descend(points, starts.reshape(-1, q), free.reshape(-1, q), rounds=60)
    lowest = scores.reshape(len(trials), -1).min(axis=1)
    unit = rise(residuals(points, best[None])[0], q, points.delta)
    return list(np.maximum(0, 2 * (lowest - score(points, best[None])) / unit))


def _starts(best, floor):
    """Four places to fit the rest from: the best fit, smaller terms, no floor, steeper terms."""
    m = (len(best) - 1) // 2
    starts = np.stack([best] * 4)
    starts[1, 1 : 1 + m] -= 1.0
    starts[2, 0] = ABSENT if floor else best[0]
    starts[3, 1 + m :] *= 2.0
    return starts


def _other_floor(points, best):
    """The floor lowered by a share of the smallest value, or raised where it would be negative."""
    fitted, step = math.exp(best[0]), SHARE * math.exp(points.y.min())
    return {0: math.log(fitted - step if fitted > 1.001 * step else fitted + step)}


def noise(points: Points, best: np.ndarray) -> float:
    """The standard deviation of log y around the best fit, as mean absolute residuals say."""
    return spread(residuals(points, best[None])[0], len(best))


def spread(residual: np.ndarray, paid: int) -> float:
    """The standard deviation behind residuals of a fit with `paid` parameters."""
    spare = max(1, len(residual) - paid)
    return max(np.abs(residual).sum() / spare * math.sqrt(math.pi / 2), 1e-8)


def rise(residual: np.ndarray, paid: int, delta: float) -> float:
    """What noise adds to the score for each unit of chi-square / 2: E[psi^2] / E[psi'].

    Both are those of Huber's psi under normal noise. For a delta far above the noise this is its
    variance, far below it what makes the ratio that of a median.
    """
    sigma = spread(residual, paid)
    z = delta / sigma
    inside = math.erf(z / math.sqrt(2))
    tail = z * math.exp(-(z**2) / 2) * math.sqrt(2 / math.pi)
    return (sigma**2 * (inside - tail) + delta**2 * (1 - inside)) / inside
