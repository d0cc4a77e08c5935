"""Right answers to the exercise of notebook 16, and the wrong ones that learners give."""

import math

import numpy as np

from modelscale.course import mesh


def enough(p, share):
    return max(1, math.ceil((p - 1) * (1 / share - 1) - 1e-9))


RIGHT = {
    mesh.check_enough_micro_batches: [
        enough,
        lambda *a: np.int64(enough(*a)),
        lambda p, share: max(1, math.ceil((p - 1) * (1 - share) / share)),
        lambda p, share: max(1, math.ceil((p - 1) / share - (p - 1))),
    ],
}
WRONG = {
    mesh.check_enough_micro_batches: {
        "of the ideal time": lambda p, share: max(1, math.ceil((p - 1) / share)),
        "p over m": lambda p, share: math.ceil(p / share - p),
        "rounded down": lambda p, share: max(1, math.floor((p - 1) * (1 / share - 1))),
        "rounded": lambda p, share: max(1, round((p - 1) * (1 / share - 1))),
        "one more": lambda p, share: enough(p, share) + 1,
        "not rounded": lambda p, share: (p - 1) * (1 / share - 1),
        "zero bubble": lambda p, share: max(1, math.ceil((p - 1) * (1 / share - 1) / 3)),
    },
}
