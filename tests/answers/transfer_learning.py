"""Right answers to the exercises of notebook 05, and the wrong ones that learners give."""

import math

import numpy as np

from modelscale.exercises import transfer_learning


def worth(labels, scratch, reached, rising=True, log=True, beyond=math.nan):
    scratch = np.maximum.accumulate(scratch) if rising else np.array(scratch)
    found = np.interp(reached, scratch, np.log(labels) if log else labels)
    if not scratch.min() <= reached <= scratch.max():
        return beyond
    return float(np.exp(found) if log else found)


def worth_in_place(labels, scratch, reached):
    for i in range(1, len(scratch)):
        scratch[i] = max(scratch[i], scratch[i - 1])
    labels[:] = map(math.log, labels)
    return float(np.exp(np.interp(reached, scratch, labels, math.nan, math.nan)))


RIGHT = {
    transfer_learning.check_lora_params: [
        lambda m, n, r: r * (m + n),
        lambda m, n, r: np.int64(m * r + r * n),
    ],
    transfer_learning.check_probe_flops: [lambda b, h, n, s, k: n * b + 2 * s * k * h],
    transfer_learning.check_worth: [worth, lambda *a: np.float64(worth(*a)), worth_in_place],
    transfer_learning.check_even_point: [lambda k, a, b, n: (k * n**b) ** (1 / (1 - a))],
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
    transfer_learning.check_worth: {
        "linear in the labels": lambda *a: worth(*a, log=False),
        "not made to rise": lambda *a: worth(*a, rising=False),
        "zero beyond": lambda *a: worth(*a, beyond=0.0),
        "the last beyond": lambda labels, *a: worth(labels, *a, beyond=labels[-1]),
        "the logarithm": lambda *a: math.log(worth(*a)),
        "the nearest": lambda labels, scratch, reached: labels[
            int(np.abs(np.array(scratch) - reached).argmin())
        ],
        "the next": lambda labels, scratch, reached: labels[
            min(int(np.searchsorted(scratch, reached)), len(labels) - 1)
        ],
        "only strictly between": lambda labels, scratch, reached: (
            worth(labels, scratch, reached) if min(scratch) < reached < max(scratch) else math.nan
        ),
        "sorted": lambda labels, scratch, reached: worth(labels, sorted(scratch), reached),
        "always unknown": lambda *a: math.nan,
    },
    transfer_learning.check_even_point: {
        "the gift at one": lambda k, a, b, n: k * n**b,
        "sign": lambda k, a, b, n: (k * n**b) ** (1 / (1 + a)),
        "inverse": lambda k, a, b, n: (k * n**b) ** (a - 1),
        "not inverted": lambda k, a, b, n: (k * n**b) ** (1 - a),
        "by alpha": lambda k, a, b, n: (k * n**b) ** (1 / a) if a else k * n**b * 2,
        "k outside": lambda k, a, b, n: k * n ** (b / (1 - a)),
        "beta for alpha": lambda k, a, b, n: (k * n**a) ** (1 / (1 - b)),
        "no size": lambda k, a, b, n: k ** (1 / (1 - a)),
    },
    transfer_learning.check_culprit: dict(zip("abde", "abde", strict=True)),
}
