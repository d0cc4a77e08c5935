"""Checkers of the exercises in 07_efficiency."""

from numbers import Integral

import numpy as np

from ..course.checkers import differs, exercise, nothing_yet, wrong_letter


@exercise(
    "the largest weight falls on the largest whole number, 2**(bits - 1) - 1; divide by that step "
    "and round to the nearest."
)
def check_to_integers(answer):
    """Whether `answer(weights, bits)` is (whole numbers, step) of symmetric rounding."""
    for weights, bits in (
        ([0.3, -0.7, 0.26, 0.0], 8),
        ([-2.0, 0.9, 1.6], 3),
        ([0.05, 0.1, -0.02], 4),
    ):
        call = f"to_integers({weights}, {bits})"
        got = answer(np.array(weights), bits)
        if got is None or got is ...:
            return nothing_yet(call)
        if not isinstance(got, tuple | list) or len(got) != 2:
            return f"{call} gives {got!r}, which is not a pair (whole numbers, step)."
        step = max(map(abs, weights)) / (2 ** (bits - 1) - 1)
        if wrong := differs(f"the step of {call}", got[1], step):
            return str(wrong)  # with a hint also where the step is missing: something was tried
        found, wanted = np.asarray(got[0], dtype=float), np.round(np.array(weights) / step)
        if found.shape != wanted.shape or not np.allclose(found, wanted, atol=1e-9):
            return f"{call} gives the whole numbers {np.ndarray.tolist(found)}, not the nearest."
    return None


@exercise(
    "a pair of factors has rank * (n_in + n_out) weights; it must have fewer than n_in * n_out."
)
def check_largest_rank(answer):
    """Whether `answer(n_in, n_out)` is the largest rank at which two factors have fewer weights."""
    for n_in, n_out in ((256, 256), (40, 256), (1024, 4096), (7, 5), (300, 10)):
        call = f"largest_rank({n_in}, {n_out})"
        wanted = (n_in * n_out - 1) // (n_in + n_out)
        if wrong := differs(call, answer(n_in, n_out), wanted, tolerance=0):
            return wrong
    return None


@exercise(
    "every layer keeps a key and a value of kv_heads * head_size numbers for each token of each "
    "sequence."
)
def check_cache_bytes(answer):
    """Whether `answer(layers, kv_heads, head_size, batch, tokens, size)` are the cache's bytes."""
    for case in ((4, 4, 32, 1, 256, 4), (32, 8, 128, 16, 4096, 2), (2, 1, 8, 3, 5, 1)):
        layers, kv_heads, head_size, batch, tokens, size = case
        wanted = 2 * layers * kv_heads * head_size * batch * tokens * size
        if wrong := differs(f"cache_bytes{case}", answer(*case), wanted, tolerance=0):
            return wrong
    return None


@exercise(
    "a variant is beaten if some other is as cheap and better, or cheaper and as good; the same "
    "cost and the same accuracy beat nobody."
)
def check_frontier(answer):
    """Whether `answer(costs, accuracies)` are the positions of all that nobody beats."""
    for costs, accuracies, wanted in (
        ([1, 2, 3, 4], [0.5, 0.7, 0.6, 0.9], [0, 1, 3]),
        ([4, 1, 3, 2], [0.9, 0.5, 0.9, 0.9], [1, 3]),
        ([2, 2, 1], [0.8, 0.8, 0.4], [0, 1, 2]),
        ([1, 1, 5], [0.6, 0.7, 0.7], [1]),
        ([3, 1, 2], [0.1, 0.9, 0.5], [1]),
    ):
        call = f"positions({costs}, {accuracies})"
        got = answer(list(costs), list(accuracies))
        if got is None or got is ...:
            return nothing_yet(call)
        if not isinstance(got, list | tuple | set | np.ndarray):
            return f"{call} gives {got!r}, which is no list of positions."
        whole = all(isinstance(i, Integral) and not isinstance(i, bool) for i in got)
        if not whole or sorted(got) != wanted:
            return f"{call} gives {list(got)}, which are not the positions of all unbeaten ones."
    return None


@exercise("what would be left of a row of weights whose step was set by a weight 300 times larger?")
def check_culprit(answer):
    """Whether `answer` names the network that another step repairs, in the break-it lab."""
    wrong = {
        "a": "it answers as well as before and its rows use many of the 255 values: it is sound.",
        "c": "its rounding is in order, what is left still takes dozens of values; most of its "
        "weights are zero because they were cut. Training it on would repair it.",
    }
    return wrong_letter(answer, "b", wrong)
