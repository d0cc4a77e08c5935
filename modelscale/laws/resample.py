"""Bootstraps: the same fit on data that chance could as well have given, hundreds at a time.

Legend: P refits, n points, m power terms, q = 1 + 2m parameters.
"""

from dataclasses import replace

import numpy as np

from . import search
from .determined import noise
from .solve import ABSENT, Points, descend, residuals

TRIES = 100  # draws of points before a design is called too small to resample
STARTS = 3  # local minima of the full fit that every refit starts from


def resampled_points(points: Points, n: int, rng) -> Points:
    """The points with `n` rows of counts (n, points): how often each was drawn with replacement.

    A draw with fewer than three values of some x cannot be fitted, and is drawn again.

    Raises: ValueError where hardly any draw can be fitted.
    """
    total = points.x.shape[1]
    even = np.full(total, 1 / total)
    counts = rng.multinomial(total, even, size=n)
    for _ in range(TRIES):
        poor = ~_fits(points, counts)
        if not poor.any():
            return replace(points, counts=counts.astype(float))
        counts[poor] = rng.multinomial(total, even, size=poor.sum())
    raise ValueError(f"{total} points: too few to draw from with replacement. Measure more points.")


def resampled_noise(points: Points, best: np.ndarray, n: int, rng) -> tuple[Points, np.ndarray]:
    """The points with `n` rows of log y (n, points), the fit's plus noise, and noise of n new runs.

    Every x stays in, however few there are.
    """
    total = points.x.shape[1]
    drawn = draw_noise(points, best, (n, total + 1), rng)
    fitted = residuals(points, best[None])[0] + points.y
    return replace(points, y=fitted + drawn[:, :total]), drawn[:, total]


def draw_noise(points: Points, best: np.ndarray, shape: tuple, rng) -> np.ndarray:
    """Noise of log y that the residuals of a fit may have come from, a level for each row.

    Residuals are drawn again, but not as they are: a fit of absolute losses runs through as many
    points as it has parameters, and noise that is often exactly 0 would flatter it. So they are
    smoothed with a normal kernel (Silverman's width), scaled to the noise level that is left after
    the parameters, and that level is itself drawn, as the points that are left leave it open.
    """
    residual = -residuals(points, best[None])[0]
    residual = (residual - residual.mean()) / max(residual.std(), 1e-300)
    kernel = (4 / (3 * len(residual))) ** 0.2
    smooth = rng.choice(residual, shape) + kernel * rng.standard_normal(shape)
    spare = max(1, len(residual) - len(best))
    level = noise(points, best) * np.sqrt(spare / rng.chisquare(spare, (shape[0], 1)))
    return smooth / np.sqrt(1 + kernel**2) * level


def refits(resampled: Points, points: Points, n: int, floor: bool = True) -> np.ndarray:
    """The best parameters of each of `n` resampled fits: (n, q).

    All start from the best local minima of the points themselves, and from no floor.
    """
    starts = _starts(points, floor)
    free = np.ones(starts.shape[1], dtype=bool)
    free[0] = floor
    rows = np.tile(np.arange(n), len(starts))
    theta, scores = descend(resampled.of(rows), np.repeat(starts, n, axis=0), free)
    best = scores.reshape(len(starts), n).argmin(axis=0)
    return theta[best * n + np.arange(n)]


def _starts(points, floor):
    theta, scores = search.candidates(points, floor)
    chosen = []
    for row in theta[np.argsort(scores)]:
        if all(np.abs(row - other).max() > 0.1 for other in chosen) and len(chosen) < STARTS:
            chosen.append(row)
    m = len(points.x)
    steep = chosen[0].copy()
    steep[1 + m :] *= 1.6
    if floor:
        bare = chosen[0].copy()
        bare[0], bare[1 + m :] = ABSENT, 0.6 * bare[1 + m :]
        chosen.append(bare)
    return np.array([*chosen, steep])


def _fits(points, counts):
    fits = np.ones(len(counts), dtype=bool)
    for x in points.x:
        levels = np.unique(x)
        found = np.stack([counts[:, x == level].any(axis=1) for level in levels])
        fits &= found.sum(axis=0) >= 3
    return fits
