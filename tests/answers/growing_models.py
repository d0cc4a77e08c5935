"""Right answers to the exercises of notebook 06, and the wrong ones that learners give."""

import numpy as np

from modelscale.exercises import growing_models


def one_deeper(layers, at=1, weight=np.eye, bias=0.0):
    n = layers[at - 1][0].shape[0] if at else layers[0][0].shape[1]
    return [*layers[:at], (weight(n), np.full(n, bias)), *layers[at:]]


def turned(n):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))[0]


RIGHT = {
    growing_models.check_shares: [
        lambda units: [1 / units.count(unit) for unit in units],
        lambda units: 1 / np.bincount(units)[units],
    ],
    growing_models.check_steps_left: [
        lambda budget, n, small, big: max(0, (budget - n * small) // big),
    ],
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
    growing_models.check_shares: {
        "halves": lambda units: [0.5] * len(units),
        "nothing divided": lambda units: [1.0] * len(units),
        "all alike": lambda units: [1 / len(units)] * len(units),
        "the first keeps all": lambda units: [
            float(u not in units[:i]) for i, u in enumerate(units)
        ],
        "copies counted without the first": lambda units: [
            1 / max(1, units.count(u) - 1) for u in units
        ],
        "one for each old": lambda units: [1 / units.count(u) for u in sorted(set(units))],
        "counts": lambda units: [units.count(u) for u in units],
    },
    growing_models.check_steps_left: {
        "the small one for free": lambda budget, n, small, big: budget // big,
        "not whole": lambda budget, n, small, big: max(0, (budget - n * small) / big),
        "rounded up": lambda budget, n, small, big: max(0, -(-(budget - n * small) // big)),
        "below nothing": lambda budget, n, small, big: (budget - n * small) // big,
        "steps subtracted": lambda budget, n, small, big: max(0, budget // big - n),
        "one small step": lambda budget, n, small, big: (budget - small) // big,
    },
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
