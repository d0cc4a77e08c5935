"""Right answers to the exercises of notebook 01, and the wrong ones that learners give."""

import numpy as np

import sweeps
from modelscale import count
from modelscale.course import Sweep, vertical_scaling
from test_machine import FLAT


def flops(depth, width, batch):
    return 2 * batch * (2 * 40 * width + 3 * (depth - 1) * width**2 + 3 * 10 * width)


def widest(depth, budget):
    return max(w for w in range(1, 2000) if count.MLP(depth, w).params <= budget)


def batch(n, sample, memory, state=16):
    return max(0, (memory - state * n) // sample)


RIGHT = {
    vertical_scaling.check_train_flops: [flops, lambda *a: float(flops(*a))],
    vertical_scaling.check_widest: [widest, lambda *a: np.int64(widest(*a))],
    vertical_scaling.check_largest_batch: [batch, lambda *a: np.int64(batch(*a))],
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
        "below the budget": lambda d, b: widest(d, b - 1),
        "the budget": lambda d, b: b,
        "hidden layers alone": lambda d, b: int((b / d) ** 0.5),
        "one layer too few": lambda d, b: widest(max(1, d - 1), b),
        "in steps of 8": lambda d, b: widest(d, b) // 8 * 8,
    },
    vertical_scaling.check_largest_batch: {
        "no gradients": lambda *a: batch(*a, state=12),
        "no averages": lambda *a: batch(*a, state=8),
        "weights alone": lambda *a: batch(*a, state=4),
        "numbers for bytes": lambda n, s, m: max(0, (m // 4 - 4 * n) // s),
        "float64": lambda *a: batch(*a, state=32),
        "no state": lambda n, s, m: m // s,
        "a state for every sample": lambda n, s, m: m // (16 * n + s),
        "a part of a sample": lambda n, s, m: max(0, (m - 16 * n) / s),
        "one too many": lambda n, s, m: batch(n, s, m) + 1,
        "rounded up": lambda n, s, m: max(0, -((16 * n - m) // s)),
        "less than nothing": lambda n, s, m: (m - 16 * n) // s,
        "at least one": lambda *a: max(1, batch(*a)),
    },
    vertical_scaling.check_suspect: dict(zip("abde", "abde", strict=True)),
}


def EXPLORER():
    """The stored sweep, beside a machine that was made up."""
    path = sweeps.path("vertical_scaling")
    return vertical_scaling.vertical_explorer(Sweep(path, "kind", "n", "depth", "width"), FLAT)


SHOWN = [  # what notebook and solutions say
    (
        {"kind": "plain", "depth": 2, "width": 32, "n": 2000},
        ["2.7 k parameters; 844 kFLOP, 72.9 kB", "Test accuracy 0.53", "training 0.80"],
    ),
    ({"kind": "plain", "depth": 8, "width": 32, "n": 2000}, "(0.45 to 0.45)"),
    ({"kind": "residual", "depth": 8, "width": 32, "n": 2000}, "(0.48 to 0.53)"),
    ({"kind": "plain", "depth": 16, "width": 8, "n": 2000}, "Test accuracy 0.26"),
    ({"kind": "plain", "depth": 16, "width": 8, "n": 32000}, "Test accuracy 0.26"),
    ({"kind": "plain", "depth": 1, "width": 32, "n": 32000}, ["451 kFLOP", "Test accuracy 0.60"]),
]
