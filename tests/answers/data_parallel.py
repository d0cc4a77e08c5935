"""Right answers to the exercises of notebook 08, and the wrong ones that learners give."""

import numpy as np

from modelscale.exercises import data_parallel
from modelscale.tuning import noise_scale

STAGES = [
    lambda ranks: 16,
    lambda ranks: 4 + 12 / ranks,
    lambda ranks: 2 + 14 / ranks,
    lambda ranks: 16 / ranks,
]


def smallest_stage(n, ranks, memory, sizes=STAGES):
    return next((s for s, size in enumerate(sizes) if n * size(ranks) <= memory), None)


def critical_batch(small_sq, large_sq, small, large):
    trace = (small_sq - large_sq) / (1 / small - 1 / large)
    return trace / (small_sq - trace / small)


def best_ranks(compute_s, n_bytes, latency_s, bandwidth, most, whole=False):
    p = np.arange(1, most + 1)
    message_s = latency_s + n_bytes / (1 if whole else p) / bandwidth
    return int(p[(compute_s / p + 2 * (p - 1) * message_s).argmin()])


ANSWER = {"a": "scale", "b": "order", "c": "means", "d": "average"}
RIGHT = {
    data_parallel.check_best_ranks: [best_ranks, lambda *a: np.int64(best_ranks(*a))],
    data_parallel.check_loss_scale: [lambda mine, n, p: mine * p / n],
    data_parallel.check_smallest_stage: [
        smallest_stage,
        lambda *a: None if smallest_stage(*a) is None else np.int64(smallest_stage(*a)),
    ],
    data_parallel.check_critical_batch: [
        critical_batch,
        lambda a, b, m, n: noise_scale.from_two_batches(a, b, m, n).scale,
    ],
    data_parallel.check_suspects: [ANSWER, dict(reversed(ANSWER.items()))],
}
WRONG = {
    data_parallel.check_best_ranks: {
        "all": lambda *a: a[-1],
        "one": lambda *a: 1,
        "the law's minimum, not whole": lambda c, n, lat, b, most: (
            max(1, (c - 2 * n / b) / (2 * lat)) ** 0.5
        ),
        "no latency": lambda c, n, lat, b, most: best_ranks(c, n, 0, b, most),
        "no bytes": lambda c, n, lat, b, most: best_ranks(c, 0, lat, b, most),
        "first half alone": lambda c, *a: best_ranks(2 * c, *a),
        "the whole list in each message": lambda *a: best_ranks(*a, whole=True),
        "a batch for every rank": lambda c, *a: best_ranks(0, *a),
        "beyond what there is": lambda c, n, lat, b, most: best_ranks(c, n, lat, b, 10_000),
        "the first that pays": lambda *a: min(2, best_ranks(*a)),
    },
    data_parallel.check_loss_scale: {
        "nothing": lambda mine, n, p: 1.0,
        "forgets the average": lambda mine, n, p: mine / n,
        "upside down": lambda mine, n, p: n / (mine * p),
        "divides by the ranks": lambda mine, n, p: mine / (n * p),
        "forgets the mean": lambda mine, n, p: p / n,
    },
    data_parallel.check_smallest_stage: {
        "the largest": lambda n, p, m: 3 if n * 16 / p <= m else None,
        "never none": lambda n, p, m: (
            3 if smallest_stage(n, p, m) is None else smallest_stage(n, p, m)
        ),
        "in float32": lambda *a: smallest_stage(
            *a, [lambda p: 16, lambda p: 8 + 8 / p, lambda p: 4 + 12 / p, lambda p: 16 / p]
        ),
        "counted from 1": lambda *a: (smallest_stage(*a) or 0) + 1,
        "all memory together": lambda n, p, m: 0 if n * 16 <= m * p else None,
        "true and false": lambda *a: bool(smallest_stage(*a)),
        "stages 0 and 3": lambda n, p, m: 0 if 16 * n <= m else 3 if 16 * n / p <= m else None,
    },
    data_parallel.check_critical_batch: {
        "upside down": lambda *a: 1 / critical_batch(*a),
        "trace alone": lambda a, b, m, n: (a - b) / (1 / m - 1 / n),
        "long batch for the true gradient": lambda a, b, m, n: (a - b) / (1 / m - 1 / n) / b,
        "forgets the sizes": lambda a, b, m, n: (a - b) / b,
        "sizes swapped": lambda a, b, m, n: critical_batch(a, b, n, m),
        "adds the noise": lambda a, b, m, n: (
            (a - b) / (1 / m - 1 / n) / (a + (a - b) / (1 / m - 1 / n) / m)
        ),
        "lengths not squared": lambda a, b, m, n: critical_batch(a**0.5, b**0.5, m, n),
    },
    data_parallel.check_suspects: {
        "two swapped": ANSWER | {"a": "order", "b": "scale"},
        "all alike": dict.fromkeys("abcd", "average"),
        "one missing": {k: v for k, v in ANSWER.items() if k != "d"},
        "unknown": ANSWER | {"a": "the learning rate"},
        "a list": list(ANSWER.values()),
    },
}
