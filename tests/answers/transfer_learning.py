"""Right answers to the exercises of notebook 06, wrong ones that learners give, its explorer."""

import numpy as np

import sweeps
from modelscale.course import transfer_learning

RIGHT = {
    transfer_learning.check_lora_params: [
        lambda m, n, r: r * (m + n),
        lambda m, n, r: np.int64(m * r + r * n),
    ],
    transfer_learning.check_probe_flops: [lambda b, h, n, s, k: n * b + 2 * s * k * h],
    transfer_learning.check_culprit: ["c", " C "],
}
WRONG = {
    transfer_learning.check_lora_params: {
        "A alone": lambda m, n, r: r * m,
        "B alone": lambda m, n, r: r * n,
        "the product": lambda m, n, r: m * n,
        "with W": lambda m, n, r: m * n + r * (m + n),
        "square": lambda m, n, r: 2 * r * m,
        "with a middle matrix": lambda m, n, r: r * (m + n + r),
        "with a bias": lambda m, n, r: r * (m + n) + n,
        "a share": lambda m, n, r: r * (m + n) / (m * n),
    },
    transfer_learning.check_probe_flops: {
        "features in every step": lambda b, h, n, s, k: s * k * (b + 2 * h),
        "forward alone": lambda b, h, n, s, k: n * b + s * k * h,
        "a gradient for the features": lambda b, h, n, s, k: n * b + 3 * s * k * h,
        "the body trained": lambda b, h, n, s, k: 3 * n * b + 2 * s * k * h,
        "one step": lambda b, h, n, s, k: n * b + 2 * k * h,
        "samples for steps": lambda b, h, n, s, k: n * (b + 2 * h),
        "no features": lambda b, h, n, s, k: 2 * s * k * h,
        "the head once more on the features": lambda b, h, n, s, k: n * (b + h) + 2 * s * k * h,
    },
    transfer_learning.check_culprit: dict(zip("abde", "abde", strict=True)),
}


def EXPLORER():
    """The explorer where it opens: every control counts there."""
    folder = sweeps.path("transfer_ladder").parent
    return transfer_learning.transfer_explorer(transfer_learning.Sweeps(folder))


SHOWN = [
    (
        {"pair": "letters to moved digits", "labels": 5},
        ["5 labels a class: pretraining helps on every seed", "probe, then fine-tune, 0.62"],
    ),
    ({"pair": "40 shapes with shuffled labels", "labels": 100}, "pretraining hurts on every seed"),
    (
        {"pair": "2 shapes to 10 others", "labels": 1},
        ["1 label a class: pretraining helps on some seeds, not on all", "gain seed by seed -0.06"],
    ),
    ({"pair": "10 shapes to 10 others", "labels": 100}, ["fine-tune, 0.87", "scratch 0.66"]),
]
