"""Right and wrong answers to the exercises of notebook 04, and places of its explorer."""

import math

import sweeps
from modelscale.course import Sweep, tuning_at_scale


def table(role, optimizer, ratio):
    if optimizer == "adamw":
        return 1 / ratio if role in ("hidden", "output") else 1.0
    return {"input": ratio, "vector": ratio, "hidden": 1, "output": 1 / ratio}[role]


def vertex(k, left, middle, right):
    return k - (right - left) / 4 / ((left + right) / 2 - middle)


RIGHT = {
    tuning_at_scale.check_factor: [table],
    tuning_at_scale.check_attention_scale: [lambda q, b: math.sqrt(b) / q],
    tuning_at_scale.check_vertex: [vertex],
    tuning_at_scale.check_forgotten: ["b", " B "],
}
WRONG = {
    tuning_at_scale.check_factor: {
        "Adam's for both": lambda role, o, m: table(role, "adamw", m),
        "SGD's for both": lambda role, o, m: table(role, "sgd", m),
        "the optimizers exchanged": lambda role, o, m: table(
            role, "sgd" if o == "adamw" else "adamw", m
        ),
        "the output forgotten": lambda role, o, m: 1.0 if role == "output" else table(role, o, m),
        "multiplied": lambda role, o, m: 1 / table(role, o, m),
        "the root": lambda role, o, m: table(role, o, m) ** 0.5,
        "biases like weights": lambda role, o, m: table(
            "hidden" if role == "vector" else role, o, m
        ),
        "always one": lambda role, o, m: 1.0,
    },
    tuning_at_scale.check_attention_scale: {
        "standard": lambda q, b: 1 / math.sqrt(q),
        "no base": lambda q, b: 1 / q,
        "the base's size": lambda q, b: b / q,
        "inverse": lambda q, b: q / math.sqrt(b),
        "standard times the ratio": lambda q, b: b / q / math.sqrt(q),
    },
    tuning_at_scale.check_vertex: {
        "the middle": lambda k, *y: k,
        "the wrong way": lambda k, *y: 2 * k - vertex(k, *y),
        "twice as far": lambda k, *y: 2 * vertex(k, *y) - k,
        "the rate itself": lambda k, *y: 2 ** vertex(k, *y),
        "the offset": lambda k, *y: vertex(k, *y) - k,
        "towards the lower neighbour": lambda k, a, b, c: k - 0.5 if a < c else k + 0.5,
    },
    tuning_at_scale.check_forgotten: dict(zip("acde", "acde", strict=True)),
}
SWEEP = Sweep(sweeps.path("tuning_mlp"), "optimizer", "kind", "width", "lr")


def EXPLORER():
    """The explorer over the sweep of perceptrons."""
    return tuning_at_scale.tuning_explorer(SWEEP)


SHOWN = [
    (
        {"optimizer": "sgd", "kind": "standard", "width": 512, "lr": 2.0**-1},
        "standard, sgd, width 512, rate 2^-1: diverged",
    ),
    (
        {"optimizer": "adamw", "kind": "standard", "width": 512, "lr": 2.0**-4},
        ["rate 2^-4: 2.30 nats", "The rate tuned at width 32, 2^-5, costs 0.56 nats here"],
    ),
    (
        {"optimizer": "adamw", "kind": "mup", "width": 512, "lr": 2.0**-5},
        "muP, adamw, width 512, rate 2^-5: 1.19 nats. Best at this width: 1.19 nats at 2^-5.",
    ),
]
