"""Right and wrong answers to the exercises of notebook 05, and places of its explorer."""

import numpy as np

from modelscale.course import overfitting


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
    overfitting.check_culprit: dict(zip("abd", "abd", strict=True)),
}


def EXPLORER():
    """The explorer, at a place where every control counts."""
    explorer = overfitting.overfitting_explorer()
    for name, value in {"capacity": 100, "n": 200, "noise": 0.2, "ridge": 0.1}.items():
        explorer.controls[name].value = value
    return explorer


def at(capacity, n=100, noise=0.2, ridge=0.0):
    return {"capacity": capacity, "n": n, "noise": noise, "ridge": ridge}


SHOWN = [
    (at(3), "underfitted, and a larger model would be better"),
    (at(60), "overfitted, and a larger model would be worse"),
    (at(110), "at the peak, and a larger model would be better"),
    (at(280), "beyond the peak, and a larger model would be better"),
    (at(60, ridge=100.0), "a larger model would change little"),
    (at(1000), "the largest model of this world"),
    (at(200, n=200), ["test error without bound", "at the peak"]),
    (at(50, n=50, noise=0.0, ridge=1.0), "underfitted"),  # a strong ridge leaves no peak
    (at(100, n=50), "test error 0.87"),  # more data hurt: the next is worse
    (at(100, n=200), "test error 0.64"),
    (at(100, noise=0.5), "Best capacity here: 1000"),  # noise moves the best
    (at(100, noise=1.0), "Best capacity here: 10 "),
]
