"""Checkers of the exercises in 03_tuning_at_scale."""

import math

from .. import tuning
from ..course.checkers import differs, exercise, wrong_letter
from ..tuning import Rule

ROLES = ("input", "hidden", "output", "vector")


@exercise(
    "it is a row of the table: with Adam, hidden and output weights divide by the growth of "
    "fan_in; with SGD, inputs and vectors multiply by the growth of fan_out, outputs divide."
)
def check_factor(answer):
    """Whether `answer(role, optimizer, ratio)` is muP's rate factor at `ratio` times the width."""
    for optimizer in ("adamw", "sgd"):
        for role in ROLES:
            for ratio in (1, 4, 16):
                fan_in = ratio if role in ("hidden", "output") else 1
                fan_out = ratio if role != "output" else 1
                wanted = getattr(Rule(role, fan_in, fan_out), optimizer)
                call = f"factor({role!r}, {optimizer!r}, {ratio})"
                if wrong := differs(call, answer(role, optimizer, ratio), wanted):
                    return wrong
    return None


@exercise("muP divides q . k by the head size, times whatever makes it 1 / sqrt(size) at the base.")
def check_attention_scale(answer):
    """Whether `answer(head_size, base_head_size)` is what muP multiplies q . k by."""
    for size, base in ((64, 64), (128, 32), (16, 32), (100, 25)):
        call = f"attention_scale({size}, {base})"
        if wrong := differs(call, answer(size, base), math.sqrt(base) / size):
            return wrong
    return None


@exercise(
    "through (-1, left), (0, middle) and (1, right) goes a x^2 + b x + middle with "
    "a = (left + right) / 2 - middle and b = (right - left) / 2; where is its slope zero?"
)
def check_vertex(answer):
    """Whether `answer(log2_lr, left, middle, right)` is log2 of the best rate, octaves apart."""
    for k, losses in ((-5, (3.0, 1.0, 3.0)), (-7, (2.0, 1.5, 1.6)), (3, (1.2, 1.0, 1.9))):
        wanted = tuning.best_lr([2.0 ** (k + i) for i in (-1, 0, 1)], losses)
        call = f"best_of_three({k}, {', '.join(map(str, losses))})"
        if wrong := differs(call, answer(k, *losses), wanted):
            return wrong
    return None


@exercise("linear for SGD, square root for Adam: 4 times the batch, 4 or 2 times the rate.")
def check_batch_rule(answer):
    """Whether `answer(lr, batch, new_batch, optimizer)` is the rate by the rule of thumb."""
    cases = ((0.1, 256, 8192, "sgd"), (0.1, 64, 16, "sgd"), (3e-3, 32, 512, "adamw"))
    for lr, batch, new_batch, optimizer in cases:
        wanted = lr * (new_batch / batch) ** (1.0 if optimizer == "sgd" else 0.5)
        call = f"new_rate({lr}, {batch}, {new_batch}, {optimizer!r})"
        if wrong := differs(call, answer(lr, batch, new_batch, optimizer), wanted):
            return wrong
    return None


@exercise("which layer is the first whose change grows, and what does its size at step 0 say?")
def check_forgotten(answer):
    """Whether `answer` names the rule that was forgotten in the break-it lab."""
    wrong = {
        "a": "the sizes at step 0 are those of the sound network: the initial weights are right.",
        "c": "layers 1 and 2 change as much in wide networks as in narrow ones after one step.",
        "d": "the input layer's change is flat, and under Adam its rate needs no factor.",
    }
    return wrong_letter(answer, "b", wrong)


def suspect(kind):
    """`kind`, a function of the width that gives (network, rate factors) makers, with a bug.

    It stands here and not in the notebook, so that its symptom has to be read.
    """

    def with_bug(width):
        def make(seed):
            network, factors = kind(width)(seed)
            last = [name for name in factors if name.endswith("weight")][-1]
            return network, factors | {last: 1.0}

        return make

    return with_bug
