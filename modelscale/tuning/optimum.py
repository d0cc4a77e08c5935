"""Where the best learning rate is, between the rates that were tried. Legend: R learning rates."""

import numpy as np

from .. import check


def best_lr(lrs, losses) -> float:
    """log2 of the best learning rate: the vertex of the parabola through the lowest three points.

    The parabola is in log2 of the rate. A run that diverged (its loss is inf or nan) counts as
    infinitely bad.

    Shapes: lrs (R,), losses (R,).
    Raises: ValueError for fewer than three rates, or where the lowest loss is that of the smallest
    or the largest rate: the best one then lies outside.
    """
    x, y = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    rising = x.ndim == 1 and len(x) >= 3 and x[0] > 0 and (np.diff(x) > 0).all()
    if not rising or x.shape != y.shape:
        check.refuse("lrs", lrs, "at least three rising rates above 0, and one loss for each")
    x, y = np.log2(x), np.where(np.isfinite(y), y, np.inf)
    i = int(y.argmin())
    if i in (0, len(y) - 1):
        end, way = ("largest", "larger") if i else ("smallest", "smaller")
        allowed = f"inside the rates tried, but it is the {end}"
        check.refuse("the best lr", f"{lrs[i]:g}", allowed, f"try {way} rates too")
    return _vertex(x[i - 1 : i + 2], y[i - 1 : i + 2])


def _vertex(x, y):
    """The lowest point of the parabola through three points, the middle one the lowest."""
    left, right = (y[0] - y[1]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    if np.isinf(left) or np.isinf(right):  # the limit of a wall: halfway to the finite side
        other = x[1] if left == right else x[2] if np.isinf(left) else x[0]
        return float((x[1] + other) / 2)
    if left + right == 0:
        return float(x[1])
    # slopes -left and right hold in the middles of the two intervals; zero is between them
    middles = (x[0] + x[1]) / 2, (x[1] + x[2]) / 2
    return float(middles[0] + left / (left + right) * (middles[1] - middles[0]))
