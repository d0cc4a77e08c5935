"""Of 02_scaling_laws: the checker of its exercise, and its break-it lab."""

from . import exercise, letter

check_halving = exercise(
    "solve A (factor x)^-alpha = A x^-alpha / 2 for the factor: A and x drop out.",
    name="halving",
    cases=[(0.05,), (0.34,), (1.0,)],
    reference=lambda alpha: 2 ** (1 / alpha),
)
check_colleague = letter(
    "which of his columns can differ, when the networks are the same ones?",
    right="b",
    wrong={
        "a": "a rate that is too high would show in the accuracy, which is no worse than ours.",
        "c": "the column of parameters is the same as ours.",
        "d": "memorising needs samples that come again, and it would make his loss the lower one.",
    },
)


def colleague(history) -> tuple[float, float]:
    """(loss, accuracy) of a network, as the colleague of the lab reports them."""
    return history.loss[-1], history.last["accuracy"]
