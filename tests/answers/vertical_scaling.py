"""Right answers to the exercises of notebook 01, and the wrong ones that learners give."""

import numpy as np

from modelscale import count
from modelscale.exercises import vertical_scaling


def flops(depth, width, batch):
    return 2 * batch * (2 * 40 * width + 3 * (depth - 1) * width**2 + 3 * 10 * width)


def widest(depth, budget):
    return max(w for w in range(1, 2000) if count.MLP(depth, w).params <= budget)


RIGHT = {
    vertical_scaling.check_train_flops: [flops, lambda *a: float(flops(*a))],
    vertical_scaling.check_widest: [widest, lambda *a: np.int64(widest(*a))],
    vertical_scaling.check_state_bytes: [lambda n: 16 * n],
    vertical_scaling.check_suspect: ["c", "C"],
}
WRONG = {
    vertical_scaling.check_train_flops: {
        "gradient of the data": lambda d, w, b: 6 * b * (40 * w + (d - 1) * w**2 + 10 * w),
        "forward alone": lambda d, w, b: 2 * b * (40 * w + (d - 1) * w**2 + 10 * w),
        "multiplications alone": lambda *a: flops(*a) // 2,
        "one sample": lambda d, w, b: flops(d, w, 1),
        "one layer too many": lambda d, w, b: flops(d + 1, w, b),
        "no head": lambda d, w, b: flops(d, w, b) - 60 * b * w,
        "6 N B": lambda d, w, b: 6 * b * count.MLP(d, w).params,
    },
    vertical_scaling.check_widest: {
        "one too wide": lambda d, b: widest(d, b) + 1,
        "one too narrow": lambda d, b: widest(d, b) - 1,
        "a real number": lambda d, b: widest(d, b) + 0.5,
        "the budget": lambda d, b: b,
        "hidden layers alone": lambda d, b: int((b / d) ** 0.5),
        "one layer too few": lambda d, b: widest(max(1, d - 1), b),
        "in steps of 8": lambda d, b: widest(d, b) // 8 * 8,
    },
    vertical_scaling.check_state_bytes: {
        "no gradients": lambda n: 12 * n,
        "no averages": lambda n: 8 * n,
        "weights alone": lambda n: 4 * n,
        "numbers": lambda n: 4,
        "bits": lambda n: 128 * n,
        "float64": lambda n: 32 * n,
        "mixed precision": lambda n: 18 * n,
    },
    vertical_scaling.check_suspect: dict(zip("abde", "abde", strict=True)),
}
