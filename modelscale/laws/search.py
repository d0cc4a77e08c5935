"""The global minimum of a fit, without a start from the caller.

Given the exponents, a law is almost a convex problem in the sizes of its terms; so those are
solved for on a grid of exponents, with and without a floor, and the best of the grid go down the
slope with all parameters free. All of that is one batched computation.

Legend: P problems, n points, m power terms, q = 1 + 2m parameters (E, a_1..a_m, alpha_1..alpha_m),
in units in which log y has median 0 and each log x has centre 0 and span 1 (less below MIN_SPAN).
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from .solve import ABSENT, Points, descend

SLOPES = (0.3, 1.0, 2.0, 3.5, 6.0, 12.0)  # exponent times log span, at the start
MIN_SPAN = 4.0  # so that no exponent exceeds 10, and its A is a finite number
BEST = 16  # points of the grid that are followed to the end


@dataclass(frozen=True)
class Scale:
    """The units of a fit: centre and span of each log x (m,), and the centre of log y."""

    centre: np.ndarray
    span: np.ndarray
    level: float

    def constants(self, theta) -> np.ndarray:
        """(E, A_1..A_m, alpha_1..alpha_m) of parameters in these units: (P, q) -> (P, q)."""
        m = len(self.span)
        exponents = theta[:, 1 + m :] / self.span
        sizes = np.exp(theta[:, 1 : 1 + m] + self.level + exponents * self.centre)
        sizes = np.where(theta[:, 1 : 1 + m] <= ABSENT, 0.0, sizes)
        floor = np.where(theta[:, :1] <= ABSENT, 0.0, np.exp(theta[:, :1] + self.level))
        return np.concatenate([floor, sizes, exponents], axis=1)

    def parameters(self, constants) -> np.ndarray:
        """The parameters in these units of (P, q) constants: `constants` undone."""
        m = len(self.span)
        sizes = np.maximum(constants[:, : 1 + m], 1e-300)
        theta = np.concatenate([np.log(sizes) - self.level, constants[:, 1 + m :]], axis=1)
        theta[:, 1 : 1 + m] -= theta[:, 1 + m :] * self.centre
        theta[:, 1 + m :] *= self.span
        return theta


def scaled(x: list, y, delta: float) -> tuple[Points, Scale]:
    """The points of a fit in its own units, and those units.

    Shapes: x m arrays of (n,), y (n,).
    """
    logs = np.log(np.stack(x))
    low, high = logs.min(axis=1), logs.max(axis=1)
    span = np.maximum(high - low, MIN_SPAN)
    scale = Scale((low + high) / 2, span, float(np.median(np.log(y))))
    x = (logs - scale.centre[:, None]) / scale.span[:, None]
    return Points(x, np.log(y) - scale.level, delta), scale


def best_fit(points: Points, floor: bool = True) -> np.ndarray:
    """The parameters (q,) with the lowest score of all; `floor=False` fixes E at 0."""
    theta, scores = candidates(points, floor)
    return theta[np.argmin(scores)]


def candidates(points: Points, floor: bool = True) -> tuple:
    """The local minima found, and their scores: (BEST, q), (BEST,)."""
    m = len(points.x)
    q = 1 + 2 * m
    slopes = np.array(list(product(SLOPES, repeat=m)))
    start = np.zeros((len(slopes), q))
    start[:, : 1 + m] = -np.log(1 + m)  # every term an equal share at the centre
    start[:, 1 + m :] = slopes
    bare = start.copy()
    bare[:, 0] = ABSENT
    start = np.concatenate([start, bare]) if floor else bare
    free = np.ones(q, dtype=bool)
    free[0] = floor
    sizes = free & (np.arange(q) <= m)
    theta, scores = descend(points, start, sizes, rounds=8)
    best = np.argsort(scores)[:BEST]
    return descend(points, theta[best], free, rounds=200)
