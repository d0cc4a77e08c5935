"""Right answers to the exercises of 03_compute_optimal, the wrong ones that learners give, and the
explorer.
"""

import numpy as np

from modelscale import laws
from modelscale.course import compute_optimal


def optimal_size(law, C):
    ratio = law.alpha * law.A / (law.beta * law.B)
    return (ratio * (C / 6) ** law.beta) ** (1 / (law.alpha + law.beta))


def budget_for(law, loss, floor=True):
    s = law.alpha * law.beta / (law.alpha + law.beta)
    E = law.E if floor else 0
    K = (law.loss(*law.optimal(1e21)) - E) * 1e21**s
    return (K / (loss - E)) ** (1 / s)


def searched_budget(law, loss):
    C = np.geomspace(1e15, 1e28, 20_001)
    return C[np.argmin(np.abs(law.loss(*law.optimal(C)) - loss))]


RIGHT = {
    compute_optimal.check_optimal_size: [optimal_size, lambda law, C: float(law.optimal(C)[0])],
    compute_optimal.check_budget_for: [budget_for, searched_budget],
    compute_optimal.check_colleague: ["b", " B "],
}
WRONG = {
    compute_optimal.check_optimal_size: {
        "the 6 forgotten": lambda law, C: optimal_size(law, 6 * C),
        "the tokens": lambda law, C: C / (6 * optimal_size(law, C)),
        "exponents swapped": lambda law, C: float(
            laws.LossSurface(law.E, law.A, law.B, law.beta, law.alpha).optimal(C)[0]
        ),
        "no alpha and beta before A and B": lambda law, C: (
            (law.A / law.B * (C / 6) ** law.beta) ** (1 / (law.alpha + law.beta))
        ),
        "20 tokens a parameter": lambda law, C: (C / 120) ** 0.5,
        "the power of C alone": lambda law, C: (C / 6) ** (law.beta / (law.alpha + law.beta)),
    },
    compute_optimal.check_budget_for: {
        "the floor forgotten": lambda law, loss: budget_for(law, loss, floor=False),
        "size alone": lambda law, loss: (law.A / (loss - law.E)) ** (1 / law.alpha),
        "in units of 6": lambda law, loss: budget_for(law, loss) / 6,
        "parameters": lambda law, loss: law.optimal(budget_for(law, loss))[0],
        "always one budget": lambda law, loss: 5.76e23,
        "ten per cent off": lambda law, loss: 1.1 * budget_for(law, loss),
    },
    compute_optimal.check_colleague: dict(zip("acde", "acde", strict=True)),
}

EVEN = laws.LossSurface(E=1, A=1, B=1, alpha=0.5, beta=0.5)  # N = D = (C / 6)^.5
SMALL = laws.LossSurface(E=1, A=1, B=16, alpha=0.5, beta=0.5)  # N = D / 16^2
LAWS = {"Hoffmann 2022": laws.HOFFMANN_2022, "even": EVEN, "small": SMALL}


def EXPLORER():
    explorer = compute_optimal.laws_explorer(LAWS, budgets=(6e8, 1e20, 1e24))
    explorer.controls["believed"].value = "small"
    return explorer


SHOWN = [
    # by hand: N D = 1e8 and D = 256 N; above E the best loss falls as C^-1/4
    (
        {"believed": "small", "true": "even", "C": 6e8},
        ["625 parameters, 160 k tokens (256 a parameter)", "loss 1.080", "is 1.042", "1.020 was"],
    ),
    ({"believed": "Hoffmann 2022", "true": "even", "C": 1e24}, "41.3 G parameters, 4.04 T tokens"),
    ({"believed": "even", "true": "even", "C": 1e20}, "nothing is better"),
]
