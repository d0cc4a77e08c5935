"""The minimiser behind every fit: many problems at once, each from its own start.

A law here is a floor and m power terms, y = e^E + sum_k e^(a_k - alpha_k x_k), in log y; the score
is the sum of Huber losses on its residuals. The loss is nearly absolute (delta is far below the
noise), so plain Newton steps run wild and reweighted least squares crawls. `descend` moves between
the two: the matrix of each step is Newton's plus `mu` times that of reweighted least squares, and
`mu` shrinks with every step that helps and grows with every step that does not.

Legend: P problems, n points, m power terms, q = 1 + 2m parameters (E, a_1..a_m, alpha_1..alpha_m).
"""

from dataclasses import dataclass

import numpy as np

ABSENT = -50.0  # the log of a term that is not there
MAX_SLOPE = 40.0  # exponent times span: the last of the data has e^-40 of the first
MAX_STEP = 3.0
CHUNK = 60_000  # points times problems worked on together, so that they stay in the cache


@dataclass(frozen=True)
class Points:
    """What is fitted: x (m, n), log y (n,) or (P, n), counts (P, n) or None for ones, and delta."""

    x: np.ndarray
    y: np.ndarray
    delta: float
    counts: np.ndarray | None = None

    def of(self, rows) -> "Points":
        """The points of these problems alone."""
        y = self.y if self.y.ndim == 1 else self.y[rows]
        return Points(self.x, y, self.delta, None if self.counts is None else self.counts[rows])


def descend(points: Points, start, free=None, rounds: int = 100, tolerance: float = 1e-10) -> tuple:
    """The parameters at the foot of the slope under each start, and their scores.

    `free` marks the parameters that may move; all by default. A problem stops after `rounds` steps,
    or after a few in a row that each won less than `tolerance` of its score.
    Shapes: start (P, q), free (q,) or (P, q) -> (P, q), (P,).
    """
    theta = np.array(start, dtype=float)
    free = np.broadcast_to(True if free is None else free, theta.shape)
    scores = np.empty(len(theta))
    size = max(1, CHUNK // points.x.shape[1])
    for first in range(0, len(theta), size):
        rows = slice(first, first + size)
        theta[rows], scores[rows] = _descend(
            points.of(rows), theta[rows], free[rows], rounds, tolerance
        )
    return theta, scores


def score(points: Points, theta) -> np.ndarray:
    """The sum of Huber losses of each problem: theta (P, q) -> (P,)."""
    residual = _log_terms(points, theta)[1] - points.y
    return _sum_huber(points, residual)


def residuals(points: Points, theta) -> np.ndarray:
    """Predicted minus measured log y: theta (P, q) -> (P, n)."""
    return _log_terms(points, theta)[1] - points.y


def huber(residual, delta: float) -> np.ndarray:
    """The Huber loss: r^2 / 2 up to `delta`, delta (|r| - delta / 2) beyond."""
    size = np.abs(residual)
    return np.where(size < delta, size**2 / 2, delta * (size - delta / 2))


def _descend(points, theta, free, rounds, tolerance):
    theta, result, scores = theta.copy(), theta.copy(), np.empty(len(theta))
    rows, mu, small = np.arange(len(theta)), np.ones(len(theta)), np.zeros(len(theta))
    value, gradient, newton, weighted = _derivatives(points, theta)
    for _ in range(rounds):
        step = _step(theta, free, gradient, newton + mu[:, None, None] * weighted)
        moved = _within(theta + step)
        found = _derivatives(points, moved)
        better = found[0] < value
        won = np.where(better, value - found[0], 0)
        small = np.where(won > tolerance * value, 0, small + 1)
        theta[better] = moved[better]
        for old, new in zip((value, gradient, newton, weighted), found, strict=True):
            old[better] = new[better]
        mu = np.clip(np.where(better, mu / 4, mu * 5), 1e-6, 1e6)
        done = small >= np.where(mu < 1e4, 8, 4)  # with a large mu, steps are tiny as it is
        if done.any():
            result[rows[done]], scores[rows[done]] = theta[done], value[done]
            keep = ~done
            rows, mu, small, theta, free = (a[keep] for a in (rows, mu, small, theta, free))
            value, gradient, newton, weighted = (
                a[keep] for a in (value, gradient, newton, weighted)
            )
            points = points.of(keep)
        if not len(rows):
            break
    result[rows], scores[rows] = theta, value
    return result, scores


def _log_terms(points, theta):
    """The log of every term (P, 1 + m, n), and of their sum (P, n)."""
    m = len(points.x)
    terms = np.empty((len(theta), 1 + m, points.x.shape[1]))
    terms[:, 0] = theta[:, :1]
    terms[:, 1:] = theta[:, 1 : 1 + m, None] - theta[:, 1 + m :, None] * points.x
    top = terms.max(axis=1)
    return terms, top + np.log(np.exp(terms - top[:, None]).sum(axis=1))


def _sum_huber(points, residual):
    losses = huber(residual, points.delta)
    return losses.sum(axis=1) if points.counts is None else (losses * points.counts).sum(axis=1)


def _derivatives(points, theta):
    """Score (P,), gradient (P, q), Newton's matrix and that of reweighted squares (P, q, q)."""
    terms, total = _log_terms(points, theta)
    residual, m = total - points.y, len(points.x)
    share = np.exp(terms - total[:, None])  # of each term in the sum
    slopes = np.concatenate([share, -points.x * share[:, 1:]], axis=1)  # (P, q, n)
    pull = np.clip(residual, -points.delta, points.delta)
    size = np.abs(residual)
    inside = (size < points.delta).astype(float)
    weight = points.delta / np.maximum(size, points.delta)
    if points.counts is not None:
        pull, inside, weight = (a * points.counts for a in (pull, inside, weight))
    turned = slopes.transpose(0, 2, 1)
    gradient = (slopes * pull[:, None]).sum(axis=2)
    weighted = (slopes * weight[:, None]) @ turned
    newton = (slopes * (inside - pull)[:, None]) @ turned
    bend = pull[:, None] * share  # the second derivatives of a log of a sum of exponentials
    i, k = np.arange(1 + m), np.arange(1, 1 + m)
    newton[:, i, i] += bend.sum(axis=2)
    cross = -(bend[:, 1:] * points.x).sum(axis=2)
    newton[:, k, k + m] += cross
    newton[:, k + m, k] += cross
    newton[:, k + m, k + m] += (bend[:, 1:] * points.x**2).sum(axis=2)
    return _sum_huber(points, residual), gradient, newton, weighted


def _step(theta, free, gradient, matrix):
    """The step to take: parameters that are not free, or at a bound and pushed out, stay."""
    q = theta.shape[1]
    m = (q - 1) // 2
    free = free.copy()
    exponent = theta[:, 1 + m :]
    low, high = exponent <= 0, exponent >= MAX_SLOPE
    free[:, 1 + m :] &= ~(low & (gradient[:, 1 + m :] > 0) | high & (gradient[:, 1 + m :] < 0))
    matrix = matrix * (free[:, :, None] & free[:, None, :])
    trace = np.abs(np.einsum("pii->pi", matrix)).sum(axis=1)
    i = np.arange(q)
    matrix[:, i, i] += 1e-11 * trace[:, None] + 1e-300 + ~free  # never singular
    step = -np.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0]
    return np.clip(step, -MAX_STEP, MAX_STEP)


def _within(theta):
    m = (theta.shape[1] - 1) // 2
    theta[:, : 1 + m] = np.maximum(theta[:, : 1 + m], ABSENT)
    theta[:, 1 + m :] = np.clip(theta[:, 1 + m :], 0, MAX_SLOPE)
    return theta
