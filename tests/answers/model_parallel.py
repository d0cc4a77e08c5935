"""Right answers to the exercises of notebook 09, and the wrong ones that learners give."""

import math

import numpy as np

from modelscale.exercises import model_parallel
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


def enough(p, share):
    return max(1, math.ceil((p - 1) * (1 / share - 1) - 1e-9))


def held(name, r, p, m, n_bytes):
    return n_bytes * (m if name == "gpipe" else min(m, p - r))


def layers_of(r, p, v, n_layer):
    size = n_layer // (p * v)
    return [k * size + i for k in range(r, p * v, p) for i in range(size)]


def traffic(n_layer, d_model, tokens, ranks, value_bytes):
    return n_layer * 4 * 2 * (ranks - 1) / ranks * tokens * d_model * value_bytes


def dropped(chosen, capacity):
    return [i for i, e in enumerate(chosen) if chosen[:i].count(e) >= capacity]


RIGHT = {
    model_parallel.check_tensor_parallel_traffic: [
        traffic,
        lambda n, d, t, p, b: sum(8 * t * d * b * (p - 1) / p for _ in range(n)),
    ],
    model_parallel.check_dropped_tokens: [dropped, lambda *a: tuple(dropped(*a))],
    model_parallel.check_forgotten_operator: ["b", " B "],
    model_parallel.check_one_f_one_b: [
        one_f_one_b,
        lambda r, p, m: [[op.kind, op.micro] for op in build("1f1b", p, m).ranks[r]],
        lambda *a: tuple(one_f_one_b(*a)),
    ],
    model_parallel.check_enough_micro_batches: [
        enough,
        lambda *a: np.int64(enough(*a)),
        lambda p, share: max(1, math.ceil((p - 1) * (1 - share) / share)),
        lambda p, share: max(1, math.ceil((p - 1) / share - (p - 1))),
    ],
    model_parallel.check_held_bytes: [held, lambda *a: float(held(*a))],
    model_parallel.check_layers_of: [layers_of, lambda *a: np.array(layers_of(*a))],
    model_parallel.check_stack: ["b", " B "],
}
WRONG = {
    model_parallel.check_tensor_parallel_traffic: {
        "forward alone": lambda *a: traffic(*a) / 2,
        "one all-reduce a layer and way": lambda *a: traffic(*a) / 2,
        "two all-reduces in all": lambda n, *a: traffic(1, *a),
        "message once": lambda n, d, t, p, b: n * 4 * t * d * b,
        "all ranks together": lambda n, d, t, p, b: p * traffic(n, d, t, p, b),
        "without the ring's factor 2": lambda n, d, t, p, b: n * 4 * (p - 1) / p * t * d * b,
        "parameters": lambda n, d, t, p, b: n * 12 * d**2 * b * 2 * (p - 1) / p,
        "numbers, not bytes": lambda n, d, t, p, b: traffic(n, d, t, p, 1),
    },
    model_parallel.check_dropped_tokens: {
        "kept": lambda c, cap: [i for i in range(len(c)) if c[:i].count(c[i]) < cap],
        "one more fits": lambda c, cap: dropped(c, cap + 1),
        "the later ones first": lambda c, cap: sorted(
            len(c) - 1 - i for i in dropped(c[::-1], cap)
        ),
        "a count": lambda c, cap: len(dropped(c, cap)),
        "experts": lambda c, cap: [c[i] for i in dropped(c, cap)],
        "one capacity for all": lambda c, cap: list(range(cap * len(set(c)), len(c))),
    },
    model_parallel.check_forgotten_operator: dict(zip("acd", "acd", strict=True)),
    model_parallel.check_one_f_one_b: {
        "gpipe": gpipe,
        "naive": lambda r, p, m: [(kind, j) for j in range(m) for kind in "FB"],
        "one ahead too many": lambda r, p, m: one_f_one_b(r, p, m, ahead=1),
        "one ahead too few": lambda r, p, m: one_f_one_b(max(r, min(r + 1, p - 1)), p, m),
        "ranks the other way round": lambda r, p, m: one_f_one_b(p - 1 - r, p, m),
        "drains the newest first": lambda r, p, m: one_f_one_b(r, p, m, newest=True),
        "does not drain": lambda r, p, m: one_f_one_b(r, p, m, drained=False),
        "counted from 1": lambda *a: [(kind, j + 1) for kind, j in one_f_one_b(*a)],
        "words": lambda *a: [f"{kind}{j}" for kind, j in one_f_one_b(*a)],
        "with parts": lambda r, p, m: [(kind, j, r) for kind, j in one_f_one_b(r, p, m)],
    },
    model_parallel.check_enough_micro_batches: {
        "of the ideal time": lambda p, share: max(1, math.ceil((p - 1) / share)),
        "p over m": lambda p, share: math.ceil(p / share - p),
        "rounded down": lambda p, share: max(1, math.floor((p - 1) * (1 / share - 1))),
        "rounded": lambda p, share: max(1, round((p - 1) * (1 / share - 1))),
        "one more": lambda p, share: enough(p, share) + 1,
        "not rounded": lambda p, share: (p - 1) * (1 / share - 1),
        "zero bubble": lambda p, share: max(1, math.ceil((p - 1) * (1 / share - 1) / 3)),
    },
    model_parallel.check_held_bytes: {
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
    model_parallel.check_layers_of: {
        "one run": lambda r, p, v, n: list(range(r * n // p, (r + 1) * n // p)),
        "one by one": lambda r, p, v, n: list(range(r, n, p)),
        "chunks of ranks": lambda r, p, v, n: layers_of(r % v, v, p, n),
        "first chunk": lambda r, p, v, n: layers_of(r, p, v, n)[: n // (p * v)],
        "parts": lambda r, p, v, n: list(range(r, p * v, p)),
        "counted from 1": lambda *a: [layer + 1 for layer in layers_of(*a)],
    },
    model_parallel.check_stack: dict(zip("acd", "acd", strict=True)),
}
