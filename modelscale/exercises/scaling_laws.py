"""Checkers of the exercises in 02_scaling_laws.

Legend: N parameters, D tokens, C training FLOPs, C = 6 N D.
"""

import numpy as np

from .. import laws
from ..course.checkers import differs, exercise, wrong_letter

PUBLISHED = (laws.HOFFMANN_2022, laws.BESIROGLU_2024)


@exercise("solve A (factor x)^-alpha = A x^-alpha / 2 for the factor: A and x drop out.")
def check_halving(answer):
    """Whether `answer(alpha)` is how many times more x halves a loss of A x^-alpha."""
    for alpha in (0.05, 0.34, 1.0):
        if wrong := differs(f"halving({alpha})", answer(alpha), 2 ** (1 / alpha)):
            return wrong
    return None


@exercise("np.polyfit in np.log(N), then the vertex of a parabola, and back with np.exp.")
def check_best_size(answer):
    """Whether `answer(N, loss)` is where the parabola in log N has its minimum."""
    rng = np.random.default_rng(0)
    for vertex, curvature, noise in ((1e4, 0.1, 0.0), (3e8, 0.03, 0.002)):
        N = vertex * np.geomspace(0.2, 9, 7)
        loss = 2 + curvature * np.log(N / vertex) ** 2 + rng.normal(0, noise, len(N))
        wanted = laws.isoflop(N, loss).N_opt
        if wrong := differs("best_size(N, loss)", answer(N, loss), wanted, tolerance=1e-3):
            return wrong
    return None


@exercise(
    "put D = C / (6 N) into the law, and set its derivative by N to zero; "
    "N grows as C to the power beta / (alpha + beta)."
)
def check_optimal_size(answer):
    """Whether `answer(law, C)` is the parameters of the lowest loss that C FLOPs can buy."""
    for law in (*PUBLISHED, laws.LossSurface(1.0, 30.0, 90.0, 0.5, 0.2)):
        for C in (1e18, 5.76e23):
            wanted = float(law.optimal(C)[0])
            call = f"optimal_size(law of alpha={law.alpha:g}, {C:g})"
            if wrong := differs(call, answer(law, C), wanted, tolerance=1e-3):
                return wrong
    return None


@exercise(
    "at its optima a law falls as E + K C^-s with s = alpha beta / (alpha + beta): "
    "take K from any one budget, or search over log C."
)
def check_budget_for(answer):
    """Whether `answer(law, loss)` is the least FLOPs with which the law reaches a loss."""
    for law in PUBLISHED:
        for C in (1e19, 1e24):
            loss = float(law.loss(*law.optimal(C)))
            call = f"budget_for(law of alpha={law.alpha:g}, {loss:.4f})"
            if wrong := differs(call, answer(law, loss), C, tolerance=1e-2):
                return wrong
    return None


@exercise("which of his columns can differ, when the networks are the same ones?")
def check_colleague(answer):
    """Whether `answer` names the bug of the break-it lab."""
    wrong = {
        "a": "a rate that is too high would show in the accuracy, which is no worse than ours.",
        "c": "the column of parameters is the same as ours.",
        "d": "memorising needs samples that come again, and it would make his loss the lower one.",
    }
    return wrong_letter(answer, "b", wrong)
