"""Where the best learning rate is, between the rates that were tried, and how it drifts.

Legend: R learning rates, S seeds, W widths.
"""

import numpy as np


def best_lr(lrs, losses) -> float:
    """log2 of the best learning rate: the vertex of the parabola through the lowest three points.

    The parabola is in log2 of the rate. A run that diverged (its loss is inf or nan) counts as
    infinitely bad.

    Shapes: lrs (R,), losses (R,).
    Raises: ValueError for fewer than three rates, or where the lowest loss is that of the smallest
    or the largest rate: the best one then lies outside.
    Taught in: 03_tuning_at_scale.
    """
    x, y = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    rising = x.ndim == 1 and len(x) >= 3 and x[0] > 0 and (np.diff(x) > 0).all()
    if not rising or x.shape != y.shape:
        raise ValueError(
            f"lrs={lrs!r}, losses of shape {y.shape}: there must be at least three rising rates "
            "above 0, and one loss for each."
        )
    x, y = np.log2(x), np.where(np.isfinite(y), y, np.inf)
    i = int(y.argmin())
    if i in (0, len(y) - 1):
        raise ValueError(
            f"the lowest loss is at lr={lrs[i]:g}, the {'largest' if i else 'smallest'} rate: the "
            f"best one may lie outside. Try {'larger' if i else 'smaller'} rates too."
        )
    return _vertex(x[i - 1 : i + 2], y[i - 1 : i + 2])


def octaves_per_4x(widths, log2_lrs) -> np.ndarray:
    """How many octaves the best learning rate moves when the width grows four times.

    A least-squares line in log2 of the width, for each seed. -1 is a rate halved.

    Shapes: widths (W,), log2_lrs (S, W) -> (S,).
    Taught in: 03_tuning_at_scale.
    """
    slopes, _ = np.polyfit(np.log2(widths), np.atleast_2d(log2_lrs).T, 1)
    return 2 * slopes


def _vertex(x, y):
    """The lowest point of the parabola through three points, the middle one the lowest."""
    left, right = (y[0] - y[1]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    if np.isinf(left) or np.isinf(right):  # the limit of a wall: halfway to the finite side
        return float(x[1]) if left == right else float(_half_way(x, np.isinf(left)))
    if left + right == 0:
        return float(x[1])
    # slopes -left and right hold in the middles of the two intervals; zero is between them
    middles = (x[0] + x[1]) / 2, (x[1] + x[2]) / 2
    return float(middles[0] + left / (left + right) * (middles[1] - middles[0]))


def _half_way(x, wall_on_the_left):
    return (x[1] + (x[2] if wall_on_the_left else x[0])) / 2
