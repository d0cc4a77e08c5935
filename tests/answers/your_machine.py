"""Right answers to the exercises of notebook 00, and the wrong ones that learners give."""

import numpy as np

from modelscale.course import your_machine
from test_machine import FLAT

RIGHT = {
    your_machine.check_intensity: [
        lambda n, b: 2 * n / (3 * b),
        lambda n, b: np.float64(2 * n / 3 / b),
    ],
    your_machine.check_roofline_time: [lambda f, m, p, b: max(f / p, m / b)],
    your_machine.check_ring_time: [lambda m, r, t, b: 2 * (r - 1) * t + 2 * (r - 1) / r * m / b],
    your_machine.check_lying_benchmark: ["b", " B "],
}
WRONG = {
    your_machine.check_intensity: {
        "multiplications alone": lambda n, b: n / (3 * b),
        "bits": lambda n, b: 2 * n / (3 * 8 * b),
        "always float32": lambda n, b: 2 * n / 12,
        "numbers, not bytes": lambda n, b: 2 * n / 3,
        "two matrices": lambda n, b: n / b,
        "bytes per FLOP": lambda n, b: 3 * b / (2 * n),
        "rounded down": lambda n, b: 2 * n // (3 * b) // 10,
    },
    your_machine.check_roofline_time: {
        "added": lambda f, m, p, b: f / p + m / b,
        "the shorter": lambda f, m, p, b: min(f / p, m / b),
        "computing alone": lambda f, m, p, b: f / p,
        "moving alone": lambda f, m, p, b: m / b,
        "more FLOPs than bytes": lambda f, m, p, b: f / p if f > m else m / b,
        "a ridge of 5": lambda f, m, p, b: f / p if f / m > 5 else m / b,
        "a ridge of 10": lambda f, m, p, b: f / p if f / m > 10 else m / b,
        "speed": lambda f, m, p, b: min(p, b * f / m),
        "bits": lambda f, m, p, b: max(f / p, 8 * m / b),
        "milliseconds": lambda f, m, p, b: 1e3 * max(f / p, m / b),
    },
    your_machine.check_ring_time: {
        "one way": lambda m, r, t, b: (r - 1) * (t + m / r / b),
        "whole message each step": lambda m, r, t, b: 2 * (r - 1) * (t + m / b),
        "one latency": lambda m, r, t, b: t + 2 * (r - 1) / r * m / b,
        "no latency": lambda m, r, t, b: 2 * (r - 1) / r * m / b,
        "r steps": lambda m, r, t, b: 2 * r * (t + m / r / b),
        "bits": lambda m, r, t, b: 2 * (r - 1) * (t + 8 * m / r / b),
        "no ranks": lambda m, r, t, b: t + m / b,
    },
    your_machine.check_lying_benchmark: dict(zip("acde", "acde", strict=True)),
}


def EXPLORER():
    """On a machine of 10 GFLOP/s, 1 GB/s and 10 µs an operation."""
    return your_machine.roofline_explorer(FLAT)


SHOWN = [
    ({"kind": "matrix x matrix", "n": 8}, [": 1.02 kFLOP, 768 B, 1.33 FLOP", "11 µs", "overhead"]),
    ({"kind": "matrix x matrix", "n": 512}, ["268 MFLOP, 3.15 MB, ", "27 ms", "by arithmetic"]),
    ({"kind": "matrix x vector", "n": 1024}, ["0.499 FLOP/byte", "4.2 ms", "bound by memory"]),
    ({"kind": "addition", "n": 16}, [": 256 FLOP, 3.07 kB", "13 µs, 0.0196 GFLOP/s", "overhead"]),
    ({"kind": "addition", "n": 4096}, ["0.0833 FLOP/byte", "200 ms", "bound by memory"]),
]
