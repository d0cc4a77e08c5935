"""Right answers to the exercises of notebook 07, wrong ones that learners give, its explorer."""

import numpy as np

import sweeps
from modelscale.course import growing_models


def one_deeper(layers, at=1, weight=np.eye, bias=0.0):
    n = layers[at - 1][0].shape[0] if at else layers[0][0].shape[1]
    return [*layers[:at], (weight(n), np.full(n, bias)), *layers[at:]]


def turned(n):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))[0]


RIGHT = {
    growing_models.check_deepened: [
        one_deeper,
        lambda layers: one_deeper(layers, at=len(layers) - 1),
        lambda layers: tuple(one_deeper(layers)),
    ],
    growing_models.check_carried: [
        lambda mean, square, c: (mean / c, square / c**2),
        lambda mean, square, c: np.array([mean / c, square / c**2]),
    ],
    growing_models.check_colleague: ["b", " B "],
}
WRONG = {
    growing_models.check_deepened: {
        "before the first ReLU": lambda layers: one_deeper(layers, at=0),
        "zeros": lambda layers: one_deeper(layers, weight=lambda n: np.zeros((n, n))),
        "a rotation": lambda layers: one_deeper(layers, weight=turned),
        "a bias": lambda layers: one_deeper(layers, bias=1.0),
        "behind the head": lambda layers: one_deeper(layers, at=len(layers)),
        "as deep as before": lambda layers: list(layers),
        "a layer twice": lambda layers: [layers[0], layers[0], *layers[1:]],
        "halved and doubled": lambda layers: one_deeper(layers, weight=lambda n: 2 * np.eye(n)),
    },
    growing_models.check_carried: {
        "as they were": lambda mean, square, c: (mean, square),
        "both by c": lambda mean, square, c: (mean / c, square / c),
        "mean alone": lambda mean, square, c: (mean / c, square),
        "times c": lambda mean, square, c: (mean * c, square * c**2),
        "swapped": lambda mean, square, c: (square / c**2, mean / c),
        "new": lambda mean, square, c: (0.0, 0.0),
        "mean only given": lambda mean, square, c: mean / c,
    },
    growing_models.check_colleague: dict(zip("acd", "acd", strict=True)),
}


def EXPLORER():
    """The explorer at a place where every control counts."""
    explorer = growing_models.growing_explorer(sweeps.path("growing_steps"))
    explorer.controls["start"].value = 16
    return explorer


FIRST, SECOND, LAST = (1_236_992_000 * n // 4 for n in (1, 4, 8))  # FLOPs
SHOWN = [
    ({"start": 64, "budget": SECOND}, ["64 from scratch", "nothing grows", "test loss 0.79"]),
    (
        {"start": 8, "kind": "unequal copies", "budget": SECOND},
        ["width 8 to 16 to 32 to 64", "test loss 0.83", "From scratch 0.79"],
    ),
    ({"start": 8, "kind": "fresh neurons", "budget": SECOND}, "growing wins on every seed"),
    ({"start": 8, "kind": "equal copies", "budget": LAST}, "growing loses on every seed"),
    ({"start": 32, "kind": "unequal copies", "budget": FIRST}, "growing wins on every seed"),
]
