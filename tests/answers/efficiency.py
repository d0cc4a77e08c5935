"""Right answers to the exercises of notebook 07, and the wrong ones that learners give."""

import math

import numpy as np

from modelscale.exercises import efficiency
from modelscale.widgets.efficiency import frontier


def to_integers(weights, bits, most=None, rounding=np.round):
    step = np.abs(weights).max() / (most or 2 ** (bits - 1) - 1)
    return rounding(weights / step), step


def beaten(costs, values, i, strict=False):
    rows = [(c, v) for j, (c, v) in enumerate(zip(costs, values, strict=True)) if j != i]
    if strict:
        return any(c < costs[i] and v > values[i] for c, v in rows)
    at_least = [(c, v) for c, v in rows if c <= costs[i] and v >= values[i]]
    return any((c, v) != (costs[i], values[i]) for c, v in at_least)


def unbeaten(costs, values, **how):
    return [i for i in range(len(costs)) if not beaten(costs, values, i, **how)]


RIGHT = {
    efficiency.check_to_integers: [
        to_integers,
        lambda w, b: list(to_integers(w, b)),
        lambda w, b: (to_integers(w, b)[0].astype(int), np.float32(to_integers(w, b)[1]).item()),
    ],
    efficiency.check_largest_rank: [
        lambda a, b: (a * b - 1) // (a + b),
        lambda a, b: math.ceil(a * b / (a + b)) - 1,
        lambda a, b: max(r for r in range(5000) if r * (a + b) < a * b),
    ],
    efficiency.check_cache_bytes: [
        lambda layers, heads, q, b, t, size: 2 * layers * heads * q * b * t * size
    ],
    efficiency.check_frontier: [
        unbeaten,
        lambda c, v: set(unbeaten(c, v)),
        lambda c, v: unbeaten(c, v)[::-1],
        lambda c, v: np.flatnonzero(frontier(c, v)),
    ],
    efficiency.check_culprit: ["b", " B "],
}
WRONG = {
    efficiency.check_to_integers: {
        "two to the bits": lambda w, b: to_integers(w, b, most=2**b),
        "unsigned": lambda w, b: to_integers(w, b, most=2**b - 1),
        "one too many": lambda w, b: to_integers(w, b, most=2 ** (b - 1)),
        "truncated": lambda w, b: to_integers(w, b, rounding=np.trunc),
        "floor": lambda w, b: to_integers(w, b, rounding=np.floor),
        "values": lambda w, b: (np.multiply(*to_integers(w, b)), to_integers(w, b)[1]),
        "swapped": lambda w, b: to_integers(w, b)[::-1],
        "largest not in size": lambda w, b: (
            np.round(w / (w.max() / (2 ** (b - 1) - 1))),
            w.max() / (2 ** (b - 1) - 1),
        ),
        "range": lambda w, b: (
            np.round((w - w.min()) / ((w.max() - w.min()) / (2**b - 1))),
            (w.max() - w.min()) / (2**b - 1),
        ),
        "numbers alone": lambda w, b: to_integers(w, b)[0],
    },
    efficiency.check_largest_rank: {
        "half": lambda a, b: min(a, b) // 2,
        "full": lambda a, b: min(a, b),
        "where it is even": lambda a, b: a * b // (a + b),
        "rounded": lambda a, b: round(a * b / (a + b)),
        "not whole": lambda a, b: a * b / (a + b),
        "mean": lambda a, b: a * b // (2 * (a + b)),
        "root": lambda a, b: int(math.sqrt(a * b)),
    },
    efficiency.check_cache_bytes: {
        "keys alone": lambda layers, heads, q, b, t, size: layers * heads * q * b * t * size,
        "one sequence": lambda layers, heads, q, b, t, size: 2 * layers * heads * q * t * size,
        "one layer": lambda layers, heads, q, b, t, size: 2 * heads * q * b * t * size,
        "numbers": lambda layers, heads, q, b, t, size: 2 * layers * heads * q * b * t,
        "scores": lambda layers, heads, q, b, t, size: layers * heads * b * t * t * size,
        "bits": lambda layers, heads, q, b, t, size: 16 * layers * heads * q * b * t * size,
        "MB": lambda layers, heads, q, b, t, size: 2e-6 * layers * heads * q * b * t * size,
    },
    efficiency.check_frontier: {
        "strictly beaten": lambda c, v: unbeaten(c, v, strict=True),
        "best alone": lambda c, v: [int(np.argmax(v))],
        "cheapest and best": lambda c, v: sorted({int(np.argmin(c)), int(np.argmax(v))}),
        "all": lambda c, v: list(range(len(c))),
        "mask": lambda c, v: frontier(c, v),
        "not whole": lambda c, v: [i + 0.9 for i in unbeaten(c, v)],
        "strings": lambda c, v: [str(i) for i in unbeaten(c, v)],
        "costs": lambda c, v: [c[i] for i in unbeaten(c, v)],
        "twins beat each other": lambda c, v: [
            i
            for i in range(len(c))
            if not any(j != i and c[j] <= c[i] and v[j] >= v[i] for j in range(len(c)))
        ],
        "in the order given": lambda c, v: [i for i in range(len(v)) if v[i] >= max(v[: i + 1])],
        "upside down": lambda c, v: unbeaten([-x for x in c], v),
    },
    efficiency.check_culprit: dict(zip("ac", "ac", strict=True)),
}
