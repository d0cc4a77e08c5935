"""Right answers to the exercise of notebook 11, and the wrong ones that learners give."""

import numpy as np

from modelscale.course import sharded_states

STAGES = [
    lambda ranks: 16,
    lambda ranks: 4 + 12 / ranks,
    lambda ranks: 2 + 14 / ranks,
    lambda ranks: 16 / ranks,
]


def smallest_stage(n, ranks, memory, sizes=STAGES):
    return next((s for s, size in enumerate(sizes) if n * size(ranks) <= memory), 4)


RIGHT = {
    sharded_states.check_smallest_stage: [
        smallest_stage,
        lambda *a: np.int64(smallest_stage(*a)),
    ],
}
WRONG = {
    sharded_states.check_smallest_stage: {
        "the largest": lambda n, p, m: 3 if n * 16 / p <= m else 4,
        "never none": lambda *a: min(smallest_stage(*a), 3),
        "in float32": lambda *a: smallest_stage(
            *a, [lambda p: 16, lambda p: 8 + 8 / p, lambda p: 4 + 12 / p, lambda p: 16 / p]
        ),
        "counted from 1": lambda *a: smallest_stage(*a) + 1,
        "all memory together": lambda n, p, m: 0 if n * 16 <= m * p else 4,
        "true and false": lambda *a: bool(smallest_stage(*a)),
        "stages 0 and 3": lambda n, p, m: 0 if 16 * n <= m else 3 if 16 * n / p <= m else 4,
    },
}
