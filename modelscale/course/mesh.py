"""The checker of 16_mesh."""

import math
from fractions import Fraction

from . import exercise


def _enough(p, share):
    share = Fraction(str(share))
    return max(1, math.ceil((p - 1) * (1 - share) / share))


check_enough_micro_batches = exercise(
    "set (p - 1) / (m + p - 1) equal to the share, solve for m, and round up; the share is one of "
    "the total time, not of the ideal time.",
    name="enough_micro_batches",
    cases=[(4, 0.25), (8, 0.05), (5, 0.3), (2, 0.5), (1, 0.1)],
    reference=_enough,
)
