"""Right answers to the exercises of notebook 08, and the wrong ones that learners give."""

import math
from pathlib import Path

import numpy as np

from modelscale.course import Sweep, compression
from modelscale.course.compression import unbeaten as mask

STORED = Path(__file__).parents[2] / "notebooks" / "results" / "compression.json"


def to_integers(weights, bits, most=None, rounding=np.round):
    return rounding(weights / (np.abs(weights).max() / (most or 2 ** (bits - 1) - 1)))


def beaten(costs, values, i, strict=False):
    rows = [(c, v) for j, (c, v) in enumerate(zip(costs, values, strict=True)) if j != i]
    if strict:
        return any(c < costs[i] and v > values[i] for c, v in rows)
    at_least = [(c, v) for c, v in rows if c <= costs[i] and v >= values[i]]
    return any((c, v) != (costs[i], values[i]) for c, v in at_least)


def unbeaten(costs, values, **how):
    return [i for i in range(len(costs)) if not beaten(costs, values, i, **how)]


def EXPLORER():
    """The explorer where every control counts, with seconds in proportion to the FLOPs."""
    sweep = Sweep(STORED, "name")
    passes_s = {
        batch: {name: [2e-5 + batch * cell["flops"] * 2e-11] for (name,), cell in cells.items()}
        for batch in (1, 16, 256)
        for cells in [sweep.cells]
    }
    explorer = compression.compression_explorer(sweep, passes_s)
    explorer.controls["batch"].value = 16
    return explorer


SHOWN = [
    (
        {"mb": 0.05},
        ["16 samples a pass, at most 1 ms and 0.05 MB", "Best: longer 64", "0.86 (", "0.046 MB"],
    ),
    ({"mb": 0.05, "longer": "left out"}, ["Best: narrowed 128, int8", "0.83 (", "0.042 MB"]),
    ({"mb": 5, "ms": 10}, ["40 of 40 remain", "Best: longer 128", "0.88 ("]),
    ({"ms": 0.02}, ["nothing remains", "the fastest takes 0.021 ms", "0.0055 MB"]),
    ({"batch": 1, "mb": 5, "longer": "left out"}, ["1 sample a pass", "38 of 40", "alone 512"]),
]
RIGHT = {
    compression.check_to_integers: [
        to_integers,
        lambda w, b: list(to_integers(w, b)),
        lambda w, b: to_integers(w, b).astype(int),
    ],
    compression.check_largest_rank: [
        lambda a, b: (a * b - 1) // (a + b),
        lambda a, b: math.ceil(a * b / (a + b)) - 1,
        lambda a, b: max(r for r in range(5000) if r * (a + b) < a * b),
    ],
    compression.check_frontier: [
        unbeaten,
        lambda c, v: tuple(unbeaten(c, v)),
        lambda c, v: np.flatnonzero(mask(c, v)),
    ],
    compression.check_culprit: ["b", " B "],
}
WRONG = {
    compression.check_to_integers: {
        "two to the bits": lambda w, b: to_integers(w, b, most=2**b),
        "unsigned": lambda w, b: to_integers(w, b, most=2**b - 1),
        "one too many": lambda w, b: to_integers(w, b, most=2 ** (b - 1)),
        "truncated": lambda w, b: to_integers(w, b, rounding=np.trunc),
        "floor": lambda w, b: to_integers(w, b, rounding=np.floor),
        "values": lambda w, b: to_integers(w, b) * np.abs(w).max() / (2 ** (b - 1) - 1),
        "largest not in size": lambda w, b: np.round(w / (w.max() / (2 ** (b - 1) - 1))),
        "range": lambda w, b: np.round((w - w.min()) / ((w.max() - w.min()) / (2**b - 1))),
        "the step": lambda w, b: np.abs(w).max() / (2 ** (b - 1) - 1),
    },
    compression.check_largest_rank: {
        "half": lambda a, b: min(a, b) // 2,
        "full": lambda a, b: min(a, b),
        "where it is even": lambda a, b: a * b // (a + b),
        "rounded": lambda a, b: round(a * b / (a + b)),
        "not whole": lambda a, b: a * b / (a + b),
        "mean": lambda a, b: a * b // (2 * (a + b)),
        "root": lambda a, b: int(math.sqrt(a * b)),
    },
    compression.check_frontier: {
        "strictly beaten": lambda c, v: unbeaten(c, v, strict=True),
        "best alone": lambda c, v: [int(np.argmax(v))],
        "cheapest and best": lambda c, v: sorted({int(np.argmin(c)), int(np.argmax(v))}),
        "all": lambda c, v: list(range(len(c))),
        "mask": mask,
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
    compression.check_culprit: dict(zip("ac", "ac", strict=True)),
}
