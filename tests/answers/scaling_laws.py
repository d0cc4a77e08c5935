"""Right answers to the exercises of notebook 02, and the wrong ones that learners give."""

import math

import numpy as np

from modelscale import laws
from modelscale.exercises import scaling_laws


def vertex(N, loss):
    p, q, _ = np.polyfit(np.log(N), loss, 2)
    return np.exp(-q / (2 * p))


def straight_vertex(N, loss):
    p, q, _ = np.polyfit(N, loss, 2)
    return -q / (2 * p)


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
    scaling_laws.check_halving: [lambda a: 2 ** (1 / a), lambda a: math.exp(math.log(2) / a)],
    scaling_laws.check_best_size: [vertex, lambda N, loss: laws.isoflop(N, loss).N_opt],
    scaling_laws.check_optimal_size: [optimal_size, lambda law, C: float(law.optimal(C)[0])],
    scaling_laws.check_budget_for: [budget_for, searched_budget],
    scaling_laws.check_colleague: ["b", " B "],
}
WRONG = {
    scaling_laws.check_halving: {
        "slope taken for a factor": lambda a: 2 / a,
        "always double": lambda a: 2,
        "the wrong way round": lambda a: 2**a,
        "down, not up": lambda a: 2 ** (-1 / a),
        "e instead of 2": lambda a: math.exp(1 / a),
    },
    scaling_laws.check_best_size: {
        "not in log N": straight_vertex,
        "the best run": lambda N, loss: N[np.argmin(loss)],
        "left in logs": lambda N, loss: np.log(vertex(N, loss)),
        "decimal logs, e back": lambda N, loss: math.exp(math.log10(vertex(N, loss))),
        "the middle": lambda N, loss: np.sqrt(N[0] * N[-1]),
        "the loss there": lambda N, loss: loss.min(),
        "twice the vertex in log": lambda N, loss: vertex(N, loss) ** 2,
    },
    scaling_laws.check_optimal_size: {
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
    scaling_laws.check_budget_for: {
        "the floor forgotten": lambda law, loss: budget_for(law, loss, floor=False),
        "size alone": lambda law, loss: (law.A / (loss - law.E)) ** (1 / law.alpha),
        "in units of 6": lambda law, loss: budget_for(law, loss) / 6,
        "parameters": lambda law, loss: law.optimal(budget_for(law, loss))[0],
        "always one budget": lambda law, loss: 5.76e23,
        "ten per cent off": lambda law, loss: 1.1 * budget_for(law, loss),
    },
    scaling_laws.check_colleague: dict(zip("acde", "acde", strict=True)),
}
