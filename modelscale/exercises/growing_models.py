"""Checkers of the exercises in 06_growing_models."""

from itertools import pairwise

import numpy as np

from ..course.checkers import differs, exercise, nothing_yet, wrong_letter


@exercise("count how many of the new units copy the same old one, and divide 1 by that number.")
def check_shares(answer):
    """Whether `answer(units)` is the share of the outgoing weights that each new unit gets.

    New unit i is a copy of old unit units[i]; the copies of one unit share equally.
    """
    for units in ([0, 1, 2, 1], [0, 1, 0, 0, 1, 0], [2, 0, 1]):
        call = f"shares({units})"
        got = answer(list(units))
        if got is None or got is ...:
            return nothing_yet(call)
        if len(got) != len(units):
            return f"{call} gives {len(got)} shares for {len(units)} units."
        for i, unit in enumerate(units):
            if wrong := differs(f"share {i} of {call}", got[i], 1 / units.count(unit)):
                return wrong
    return None


@exercise("what the small network's steps cost is gone; only whole steps count, and never below 0.")
def check_steps_left(answer):
    """Whether `answer(budget, small_steps, small_flops, big_flops)` is how often the big can step.

    The FLOPs are those of one step.
    """
    for case, wanted in (
        ((1000, 100, 4, 10), 60),
        ((1000, 33, 7, 10), 76),
        ((500, 200, 3, 10), 0),
        ((10**12, 1000, 3 * 10**8, 2 * 10**9), 350),
    ):
        call = f"steps_left{case}"
        got = answer(*case)
        if wrong := differs(call, got, wanted, tolerance=0):
            return wrong
    return None


@exercise(
    "relu(relu(x)) = relu(x), so an identity matrix with a bias of 0 changes nothing behind a "
    "ReLU; before the first ReLU, or without one, it would."
)
def check_deepened(answer):
    """Whether `answer(layers)` is a list one layer longer that computes the same.

    `layers` are pairs (weight (n_out, n_in), bias (n_out,)), with a ReLU between them.
    """
    rng = np.random.default_rng(0)
    for sizes in ((5, 7, 3), (4, 6, 6, 2)):
        layers = [
            (rng.normal(size=(n_out, n_in)), rng.normal(size=n_out))
            for n_in, n_out in pairwise(sizes)
        ]
        got = answer([(weight.copy(), bias.copy()) for weight, bias in layers])
        if got is None or got is ...:
            return nothing_yet("one_deeper(layers)")
        if len(got) != len(layers) + 1:
            return f"one_deeper of {len(layers)} layers gives {len(got)}, not {len(layers) + 1}."
        x = rng.normal(size=(50, sizes[0]))
        gap = np.abs(_outputs(got, x) - _outputs(layers, x)).max()
        if not gap < 1e-9:
            return f"the outputs of sizes {sizes} move by up to {gap:.2g}."
    return None


@exercise(
    "each of c copies has only a part of the effect, so its gradient is the old one divided by c; "
    "the first average is of gradients, the second of their squares."
)
def check_carried(answer):
    """Whether `answer(exp_avg, exp_avg_sq, copies)` is what Adam would hold for each copy.

    Of a weight that makes a unit, all of whose copies share equally.
    """
    for case in ((0.6, 0.9, 3), (-1.0, 4.0, 2), (0.2, 0.05, 1)):
        call = f"averages{case}"
        got = answer(*case)
        if got is None or got is ...:
            return nothing_yet(call)
        if not isinstance(got, tuple | list | np.ndarray) or len(got) != 2:
            return f"{call} gives {got!r}, which is not a pair (exp_avg, exp_avg_sq)."
        mean, square, copies = case
        for name, i, wanted in (
            ("exp_avg", 0, mean / copies),
            ("exp_avg_sq", 1, square / copies**2),
        ):
            if wrong := differs(f"{name} of {call}", got[i], wanted):
                return wrong
    return None


@exercise("look at the column of different units, and think of what the optimizer is told of them.")
def check_colleague(answer):
    """Whether `answer` names the bug of the break-it lab."""
    wrong = {
        "a": "a rate that is too high would show in a loss that jumps, and this one ends low.",
        "c": "a dead unit answers 0 to every signal, and all of these answer.",
        "d": "both networks began with a new optimizer, and ours went on learning.",
    }
    return wrong_letter(answer, "b", wrong)


def _outputs(layers, x):
    """Of a network of (weight, bias) pairs with a ReLU between them."""
    for i, (weight, bias) in enumerate(layers):
        x = np.asarray(x @ np.asarray(weight).T + np.asarray(bias))
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x
