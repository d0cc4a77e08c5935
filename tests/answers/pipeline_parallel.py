"""Right answers to the exercises of notebook 14, the wrong ones that learners give, its explorer.

The letter of the lab rests on what the simulation gives: under 1F1B the last rank alone holds one
activation at a time, and an uneven cut shows on the clock.
"""

import numpy as np

from modelscale.course import pipeline_parallel
from modelscale.parallel.schedule import build


def one_f_one_b(r, p, m, ahead=0, newest=False, drained=True):
    first = min(m, p - 1 - r + ahead)
    order, back = [("F", j) for j in range(first)], 0
    for j in range(first, m):
        order += [("F", j), ("B", back)]
        back += 1
    rest = list(range(back, m)) if drained else []
    return order + [("B", j) for j in (rest[::-1] if newest else rest)]


def gpipe(r, p, m):
    return [("F", j) for j in range(m)] + [("B", j) for j in reversed(range(m))]


def held(name, r, p, m, n_bytes):
    return n_bytes * (m if name == "gpipe" else min(m, p - r))


def layers_of(r, p, v, n_layer):
    size = n_layer // (p * v)
    return [k * size + i for k in range(r, p * v, p) for i in range(size)]


RIGHT = {
    pipeline_parallel.check_one_f_one_b: [
        one_f_one_b,
        lambda r, p, m: [[op.kind, op.micro] for op in build("1f1b", p, m).ranks[r]],
        lambda *a: tuple(one_f_one_b(*a)),
    ],
    pipeline_parallel.check_held_bytes: [held, lambda *a: float(held(*a))],
    pipeline_parallel.check_layers_of: [layers_of, lambda *a: np.array(layers_of(*a))],
    pipeline_parallel.check_stack: ["b", " B "],
}
WRONG = {
    pipeline_parallel.check_one_f_one_b: {
        "gpipe": gpipe,
        "naive": lambda r, p, m: [(kind, j) for j in range(m) for kind in "FB"],
        "one ahead too many": lambda r, p, m: one_f_one_b(r, p, m, ahead=1),
        "one ahead too few": lambda r, p, m: one_f_one_b(max(r, min(r + 1, p - 1)), p, m),
        "ranks the other way round": lambda r, p, m: one_f_one_b(p - 1 - r, p, m),
        "drains the newest first": lambda r, p, m: one_f_one_b(r, p, m, newest=True),
        "does not drain": lambda r, p, m: one_f_one_b(r, p, m, drained=False),
        "counted from 1": lambda *a: [(kind, j + 1) for kind, j in one_f_one_b(*a)],
        "words": lambda *a: [f"{kind}{j}" for kind, j in one_f_one_b(*a)],
        "with stages": lambda r, p, m: [(kind, j, r) for kind, j in one_f_one_b(r, p, m)],
    },
    pipeline_parallel.check_held_bytes: {
        "all": lambda name, r, p, m, n: m * n,
        "stages": lambda name, r, p, m, n: n * (m if name == "gpipe" else min(m, p)),
        "never more than there are, forgotten": lambda name, r, p, m, n: (
            n * (m if name == "gpipe" else p - r)
        ),
        "the ranks before": lambda name, r, p, m, n: n * (m if name == "gpipe" else min(m, r + 1)),
        "without its own": lambda name, r, p, m, n: (
            n * (m if name == "gpipe" else min(m, p - r - 1))
        ),
        "count": lambda name, r, p, m, n: held(name, r, p, m, 1),
        "names swapped": lambda name, *a: held("1f1b" if name == "gpipe" else "gpipe", *a),
    },
    pipeline_parallel.check_layers_of: {
        "one run": lambda r, p, v, n: list(range(r * n // p, (r + 1) * n // p)),
        "one by one": lambda r, p, v, n: list(range(r, n, p)),
        "chunks of ranks": lambda r, p, v, n: layers_of(r % v, v, p, n),
        "first chunk": lambda r, p, v, n: layers_of(r, p, v, n)[: n // (p * v)],
        "stages": lambda r, p, v, n: list(range(r, p * v, p)),
        "counted from 1": lambda *a: [layer + 1 for layer in layers_of(*a)],
    },
    pipeline_parallel.check_stack: dict(zip("acd", "acd", strict=True)),
}


def EXPLORER():
    """A player of interleaved schedules, where chunks and messages count."""
    player = pipeline_parallel.schedule_player()
    player.controls["message"].value = 0.1
    return player


SHOWN = [
    ({"message": 0.0}, ["simulated 15.8%", "15.8%. At most 5.5 activations"]),
    ({}, ["a step takes 29.9", "simulated 19.7%"]),
    ({"name": "1f1b", "message": 0.0}, ["27.3%", "At most 4 activations", "of no effect here"]),
    ({"name": "gpipe", "message": 0.0}, ["27.3%", "At most 8 activations"]),
    ({"micro_batches": 4, "stages": 8}, "4 micro-batches do not make whole groups of 8"),
    ({"name": "1f1b", "backward": 1.0, "message": 0.0}, "simulated 27.3%"),
    ({"name": "1f1b", "micro_batches": 4, "stages": 8, "message": 0.0}, "simulated 63.6%"),
]
