"""Checkers of the exercises in 05_transfer_learning."""

import math

import numpy as np

from ..course.checkers import differs, exercise, wrong_letter


@exercise("A takes the inputs down to `rank` numbers, B takes those up to the outputs.")
def check_lora_params(answer):
    """Whether `answer(n_in, n_out, rank)` is how many numbers LoRA trains beside a linear map."""
    for n_in, n_out, rank in ((768, 768, 8), (40, 100, 4), (4096, 512, 1)):
        call = f"lora_params({n_in}, {n_out}, {rank})"
        if wrong := differs(call, answer(n_in, n_out, rank), rank * (n_in + n_out), tolerance=0):
            return wrong
    return None


@exercise(
    "the frozen part goes forward once for each of the n samples; the head goes forward and gets "
    "the gradient of its weights, as expensive again, on each of the steps * batch samples."
)
def check_probe_flops(answer):
    """Whether `answer(body, head, n, steps, batch)` are the FLOPs of a probe on stored features.

    `body` and `head` are FLOPs of one sample on its way forward.
    """
    for case in ((1e6, 1e4, 50, 200, 32), (2e9, 1e6, 1000, 10, 100), (5e3, 4e3, 10, 7, 10)):
        body, head, n, steps, batch = case
        wanted = n * body + 2 * steps * batch * head
        call = f"probe_flops{tuple(int(x) for x in case)}"
        if wrong := differs(call, answer(*case), wanted):
            return wrong
    return None


@exercise(
    "set D_T = D_F in D_T = k D_F**alpha N**beta and solve for D_F: the powers of D_F are alpha on "
    "one side, 1 on the other."
)
def check_even_point(answer):
    """Whether `answer(k, alpha, beta, N)` is the D_F at which pretraining is worth as much."""
    for k, alpha, beta, n in (
        (1.9e4, 0.18, 0.38, 1e6),
        (3.0, 0.5, 0.1, 1e4),
        (10.0, 0.0, 0.5, 9.0),
    ):
        wanted = (k * n**beta) ** (1 / (1 - alpha))
        call = f"even_point({k:g}, {alpha:g}, {beta:g}, {n:g})"
        if wrong := differs(call, answer(k, alpha, beta, n), wanted):
            return wrong
    return None


@exercise(
    "make the accuracy of scratch rise only (np.maximum.accumulate), interpolate the logarithm of "
    "the labels at the accuracy, and give nan below its first and above its last value."
)
def check_worth(answer):
    """Whether `answer(labels, scratch, reached)` are the labels scratch needs for an accuracy."""
    labels = [1, 2, 5, 10, 100]
    rising, dipping = [0.2, 0.3, 0.5, 0.6, 0.9], [0.2, 0.4, 0.35, 0.6, 0.9]
    for scratch, reached, wanted in (
        (rising, 0.6, 10.0),
        (rising, 0.75, math.sqrt(1000)),
        (rising, 0.25, math.sqrt(2)),
        (dipping, 0.5, math.sqrt(50)),
        (dipping, 0.38, 2**0.9),
        (rising, 0.2, 1.0),
        (rising, 0.9, 100.0),
        (rising, 0.95, math.nan),
        (rising, 0.1, math.nan),
    ):
        got = answer(list(labels), list(scratch), reached)
        call = f"worth_of({labels}, {scratch}, {reached})"
        if math.isnan(wanted):
            number = isinstance(got, float | np.floating)
            if not (number and math.isnan(got)):
                return f"{call} gives {got!r}, where nothing was measured."
        elif wrong := differs(call, got, wanted):
            return wrong
    return None


@exercise(
    "what is still right in each network? Answers in another order, and images prepared in another "
    "way, leave its features as they are."
)
def check_culprit(answer):
    """Whether `answer` names the colleague who has to train again, in the break-it lab."""
    wrong = {
        "a": "it is right on most test images and still knows much of its letters: it is sound.",
        "b": "far below guessing is not ignorance: it tells digits apart and names them in another "
        "order. Sorting its outputs repairs it.",
        "d": "it remembers as much of letters as a sound one: its weights are in order, "
        "its test images are not. Preparing them as in training repairs it.",
    }
    return wrong_letter(answer, "c", wrong)
