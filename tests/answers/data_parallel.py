"""Answers to the exercises of notebook 10, right and wrong as learners give them; its explorer."""

import numpy as np

from modelscale.course import data_parallel
from modelscale.machine import Machine

FLAT = {"float32": [[8, 5e10], [1024, 5e10]]}  # 50 GFLOP/s, 10 GB/s, 10 microseconds an operation
BOX = Machine("made up", "cpu", "2026-01-01", FLAT, [[1e4, 1e10], [1e8, 1e10]], 1e-5, 1e-4)


def EXPLORER():
    """One at a place where every control counts."""
    explorer = data_parallel.data_parallel_explorer(BOX)
    explorer.controls["order"].value = "in turn"
    return explorer


SHOWN = [
    ({}, [" 1 GB/s, 8 workers: 110 ms computing, 24 ms waiting", "stop paying at 64."]),
    ({"workers": 1}, ", 1 worker: 820 ms computing, 0 s waiting; 1.00 times one worker"),
    ({"scaling": "batch per worker"}, " More workers pay up to the last, 1024."),
]


def best_ranks(compute_s, n_bytes, latency_s, bandwidth, most, whole=False):
    p = np.arange(1, most + 1)
    message_s = latency_s + n_bytes / (1 if whole else p) / bandwidth
    return int(p[(compute_s / p + 2 * (p - 1) * message_s).argmin()])


ANSWER = {"a": "order", "b": "average", "c": "means"}
RIGHT = {
    data_parallel.check_best_ranks: [best_ranks, lambda *a: np.int64(best_ranks(*a))],
    data_parallel.check_loss_scale: [lambda mine, n, p: mine * p / n],
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
    data_parallel.check_suspects: {
        "two swapped": ANSWER | {"a": "average", "b": "order"},
        "all alike": dict.fromkeys("abc", "average"),
        "one missing": {k: v for k, v in ANSWER.items() if k != "c"},
        "unknown": ANSWER | {"a": "the learning rate"},
        "a list": list(ANSWER.values()),
    },
}
