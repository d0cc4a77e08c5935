"""Checkers of the exercises in 04_overfitting."""

import math

import numpy as np

from ..course.checkers import differs, exercise, nothing_yet, wrong_letter


@exercise(
    "fitting removes one direction of the noise for each feature, p of n; what was fitted is wrong "
    "for new samples, and the test error rises by the factor by which the training error falls."
)
def check_errors_below_the_peak(answer):
    """Whether `answer(n, p, noise)` is (training, test) error of p < n sufficient features."""
    for n, p, noise in ((100, 20, 0.5), (400, 300, 2.0), (1000, 10, 0.1)):
        call = f"errors_below_the_peak({n}, {p}, {noise:g})"
        got = answer(n, p, noise)
        if got is None or got is ...:
            return nothing_yet(call)
        if not isinstance(got, tuple | list | np.ndarray) or len(got) != 2:
            return f"{call} gives {got!r}, which is not a pair (training error, test error)."
        for name, i, wanted in (
            ("training", 0, noise * (1 - p / n)),
            ("test", 1, noise / (1 - p / n)),
        ):
            if wrong := differs(f"the {name} error of {call}", got[i], wanted):
                return wrong
    return None


@exercise("keep the best loss so far and when it was; stop once `patience` records came after it.")
def check_early_stop(answer):
    """Whether `answer(losses, patience)` is the record whose weights early stopping keeps."""
    for losses, patience, wanted in (
        ([3.0, 2.0, 1.5, 1.8, 1.9, 2.5], 2, 2),
        ([3.0, 2.0, 2.1, 1.2, 1.3, 1.4, 0.9], 2, 3),  # it never gets to see the last
        ([3.0, 2.0, 2.1, 1.2, 1.3, 1.4, 0.9], 3, 6),
        ([3.0, 2.9, 2.8], 1, 2),
        ([1.0, 2.0, 3.0, 4.0, 0.5], 3, 0),
        ([1.0, 3.0, 2.0, 2.5, 0.5], 3, 0),  # not to be counted anew at each fall
        ([2.0, 1.0, 3.0, 0.9, 1.0], 2, 3),  # nor from before the best
    ):
        call = f"early_stop({losses}, patience={patience})"
        if wrong := differs(call, answer(list(losses), patience), wanted, tolerance=0):
            return wrong
    return None


@exercise("differentiate U + U R (1 - exp(-r / R)) by the samples seen, where r repeats cost r U.")
def check_repeats_until(answer):
    """Whether `answer(worth, r_star)` is the repeats after which a sample is worth that much."""
    for worth, r_star in ((0.5, 15.39), (0.1, 4.0), (0.9, 7.5)):
        wanted = -r_star * math.log(worth)
        call = f"repeats_until({worth}, {r_star})"
        if wrong := differs(call, answer(worth, r_star), wanted):
            return wrong
    return None


@exercise(
    "in each bin: mean confidence less the share that is right, its size times the bin's share "
    "of all samples; then the sum."
)
def check_calibration_error(answer):
    """Whether `answer(confidence, correct, bins)` is the expected calibration error."""
    for seed, n, bins in ((0, 50, 5), (1, 400, 10)):
        rng = np.random.default_rng(seed)
        confidence = rng.random(n) ** 0.5
        correct = rng.random(n) > 0.8 * confidence  # too unsure in some bins, too sure in others
        wanted = _calibration_error(confidence, correct, bins)
        call = f"expected_calibration_error({n} samples, bins={bins})"
        if wrong := differs(call, answer(confidence, correct, bins), wanted):
            return wrong
    return None


@exercise("which of them would look the same however large the test set is?")
def check_culprit(answer):
    """Whether `answer` names the team whose splits leak, in the break-it lab."""
    wrong = {
        "a": "its report holds on fresh signals, and next to none of its test signals has a twin.",
        "b": "its report is a little too good, yet next to none of its test signals has a twin: "
        "it chose its stopping step on the test set.",
    }
    return wrong_letter(answer, "c", wrong)


def _calibration_error(confidence, correct, bins):
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs((confidence - correct)[at == b].sum()) for b in range(bins)]
    return sum(gaps) / len(confidence)
