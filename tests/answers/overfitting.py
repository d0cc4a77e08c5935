"""Right answers to the exercises of notebook 04, and the wrong ones that learners give."""

import math

import numpy as np

from modelscale.exercises import overfitting


def early_stop(losses, patience):
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        elif step - best >= patience:
            break
    return best


def stopped_at(losses, patience):
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        elif step - best >= patience:
            return step
    return len(losses) - 1


def calibration_error(confidence, correct, bins, weighted=True, signed=False, power=1):
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [at == b for b in range(bins) if (at == b).any()]
    gaps = np.array([(confidence - correct)[rows].mean() for rows in filled])
    gaps = (gaps if signed else abs(gaps)) ** power
    return np.average(gaps, weights=[r.sum() for r in filled] if weighted else None)


def rising_in_a_row(losses, patience):
    best = rises = 0
    for step in range(1, len(losses)):
        best = step if losses[step] < losses[best] else best
        rises = rises + 1 if losses[step] > losses[step - 1] else 0
        if rises >= patience:
            break
    return best


def above_the_one_before(losses, patience):
    best = 0
    for step, loss in enumerate(losses):
        best = step if loss < losses[best] else best
        if step >= patience and loss > losses[step - patience]:
            break
    return best


RIGHT = {
    overfitting.check_errors_below_the_peak: [
        lambda n, p, s: (s * (1 - p / n), s / (1 - p / n)),
        lambda n, p, s: [np.float64(s * (n - p) / n), s * n / (n - p)],
        lambda n, p, s: np.array([s * (n - p) / n, s * n / (n - p)]),
    ],
    overfitting.check_early_stop: [early_stop, lambda *a: np.int64(early_stop(*a))],
    overfitting.check_repeats_until: [lambda worth, r: r * math.log(1 / worth)],
    overfitting.check_calibration_error: [calibration_error],
    overfitting.check_culprit: ["c", " C "],
}
WRONG = {
    overfitting.check_errors_below_the_peak: {
        "swapped": lambda n, p, s: (s / (1 - p / n), s * (1 - p / n)),
        "no data effect": lambda n, p, s: (s, s),
        "without the noise of new labels": lambda n, p, s: (
            s * (1 - p / n),
            s / (1 - p / n) - s,
        ),
        "first order": lambda n, p, s: (s * (1 - p / n), s * (1 + p / n)),
        "squared": lambda n, p, s: (s**2 * (1 - p / n), s**2 / (1 - p / n)),
        "n and p swapped": lambda n, p, s: (s * (1 - n / p), s / (1 - n / p)),
        "test alone": lambda n, p, s: s / (1 - p / n),
        "unbiased": lambda n, p, s: (s, s / (1 - p / n)),
    },
    overfitting.check_early_stop: {
        "where it stopped": stopped_at,
        "the last": lambda losses, patience: len(losses) - 1,
        "best of all": lambda losses, patience: int(np.argmin(losses)),
        "no patience": lambda losses, patience: early_stop(losses, 1),
        "one too patient": lambda losses, patience: early_stop(losses, patience + 1),
        "one less patient": lambda losses, patience: early_stop(losses, max(1, patience - 1)),
        "counted from 1": lambda losses, patience: early_stop(losses, patience) + 1,
        "the loss": lambda losses, patience: losses[early_stop(losses, patience)],
        "rises in a row": rising_in_a_row,
        "above the one `patience` before": above_the_one_before,
    },
    overfitting.check_repeats_until: {
        "sign": lambda worth, r: r * math.log(worth),
        "epochs": lambda worth, r: 1 - r * math.log(worth),
        "average worth": lambda worth, r: -r * math.log(1 - worth),
        "linear": lambda worth, r: r * (1 - worth),
        "base 2": lambda worth, r: -r * math.log2(worth),
        "base 10": lambda worth, r: -r * math.log10(worth),
        "rate": lambda worth, r: -math.log(worth) / r,
    },
    overfitting.check_calibration_error: {
        "bins alike": lambda *a: calibration_error(*a, weighted=False),
        "signed": lambda *a: calibration_error(*a, signed=True),
        "squared": lambda *a: calibration_error(*a, power=2),
        "one bin": lambda confidence, correct, bins: calibration_error(confidence, correct, 1),
        "ten bins": lambda confidence, correct, bins: calibration_error(confidence, correct, 20),
        "accuracy": lambda confidence, correct, bins: correct.mean(),
        "each sample": lambda confidence, correct, bins: abs(confidence - correct).mean(),
        "sum": lambda *a: calibration_error(*a) * len(a[0]),
    },
    overfitting.check_culprit: dict(zip("abd", "abd", strict=True)),
}
