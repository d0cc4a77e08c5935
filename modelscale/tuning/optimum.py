"""Where the best learning rate is, between the rates that were tried. Legend: R learning rates."""

import numpy as np

from .. import check


def best_lr(lrs, losses) -> float:
    """log2 of the best learning rate: the vertex of the parabola through the lowest three points.

    The parabola is in log2 of the rate. A run that diverged (its loss is inf or nan) counts as
    infinitely bad.

    Shapes: lrs (R,), losses (R,).
    """
    x, y = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    rising = x.ndim == 1 and len(x) >= 3 and x[0] > 0 and (np.diff(x) > 0).all()
    if not rising or x.shape != y.shape:
        check.refuse("lrs", lrs, "at least three rising rates above 0, and one loss for each")
    y = np.where(np.isfinite(y), y, np.inf)
    i = int(y.argmin())
    if i in (0, len(y) - 1):
        end, way = ("largest", "larger") if i else ("smallest", "smaller")
        allowed = f"inside the rates tried, but it is the {end}"
        check.refuse("the best lr", f"{lrs[i]:g}", allowed, f"try {way} rates too")
    before, here, after = np.log2(x)[i - 1 : i + 2]
    left, right = (y[i - 1] - y[i]) / (here - before), (y[i + 1] - y[i]) / (after - here)
    # slopes -left and right hold in the middles of the two intervals; the vertex is between them
    middle, next_middle = (before + here) / 2, (here + after) / 2
    if np.isinf(left) or np.isinf(right):  # the limit of a wall: halfway to the finite side
        return float(here if left == right else next_middle if np.isinf(left) else middle)
    if left + right == 0:
        return float(here)
    return float(middle + left / (left + right) * (next_middle - middle))
