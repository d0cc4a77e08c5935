"""The loss surface L(N, D) = E + A / N^alpha + B / D^beta: its optimum, its fit, its bootstrap.

Legend: N parameters, D tokens (or samples), C training FLOPs, C = 6 N D.
"""

from dataclasses import dataclass

import numpy as np

from .. import check
from . import search
from .determined import undetermined
from .points import enough, measured, threshold
from .resample import refits, resampled_points
from .solve import huber

NAMES = ("E", "A", "B", "alpha", "beta")
REMEDY = "Train at least three sizes N and three amounts D, or fit one of them: fit_power_law."


@dataclass(frozen=True)
class LossSurface:
    """The law L(N, D) = E + A / N^alpha + B / D^beta."""

    E: float  # the loss that is left for N and D without end
    A: float  # in units of loss times N^alpha
    B: float  # in units of loss times D^beta
    alpha: float
    beta: float
    undetermined: tuple[str, ...] = ()  # parameters that the fitted points do not determine

    def loss(self, N, D) -> np.ndarray:
        """The loss of N parameters trained on D tokens; arrays broadcast."""
        N, D = np.asarray(N, dtype=float), np.asarray(D, dtype=float)
        return self.E + self.A * N**-self.alpha + self.B * D**-self.beta

    def optimal(self, C) -> tuple[np.ndarray, np.ndarray]:
        """The (N, D) of the lowest loss that C = 6 N D FLOPs can buy.

        Source: Hoffmann 2022, equation 4.
        Taught in: 02_scaling_laws.
        """
        for name in NAMES[1:]:
            check.number(name, getattr(self, name), remedy="an optimum needs both terms")
        a, b = self.alpha, self.beta
        G = (a * self.A / (b * self.B)) ** (1 / (a + b))
        N = G * (np.asarray(C, dtype=float) / 6) ** (b / (a + b))
        return N, C / (6 * N)


def fit_loss_surface(N, D, loss, delta: float = 1e-3) -> LossSurface:
    """The surface with the lowest sum of Huber losses on log loss: the global minimum.

    `undetermined` names the parameters that the points leave open: the value is the best one, and
    predictions among the points hold, but another value fits as well. Exponents lie between 0 and
    40 over the log span of the data, 10 at most.

    Raises: ValueError for values that are not positive and finite, unequal lengths, fewer than six
    different points, or fewer than three different N or D.
    Source: Hoffmann 2022, section 3.3 and appendix D.2.
    Taught in: 02_scaling_laws.
    """
    points, scale = _scaled(N, D, loss, delta)
    best = search.best_fit(points)
    E, A, B, alpha, beta = (float(value) for value in scale.constants(best[None])[0])
    open_ = undetermined(points, best)
    names = tuple(name for name, is_open in zip(NAMES, open_, strict=True) if is_open)
    return LossSurface(E, A, B, alpha, beta, names)


def bootstrap(N, D, loss, n: int = 1000, seed: int = 0, delta: float = 1e-3) -> list[LossSurface]:
    """`n` surfaces, each fitted to as many points drawn with replacement from these.

    How often its intervals hold the truth is in notebooks/results/law_coverage.json. None of these
    fits is asked what it leaves open: `undetermined` is empty.

    Raises: ValueError as `fit_loss_surface`.
    Source: Efron 1979 (the bootstrap of pairs).
    Taught in: 02_scaling_laws.
    """
    points, scale = _scaled(N, D, loss, delta)
    check.integer("n", n)
    rng = np.random.default_rng(seed)
    theta = refits(resampled_points(points, n, rng), points, n)
    return [LossSurface(*map(float, constants)) for constants in scale.constants(theta)]


def objective(surface, N, D, loss, delta: float = 1e-3) -> float:
    """The sum of Huber losses on log loss of `surface`, any law with a `loss(N, D)`.

    Raises: ValueError for values that are not positive and finite, or unequal lengths.
    Taught in: 02_scaling_laws.
    """
    N, D, loss = measured(N=N, D=D, loss=loss)
    residual = np.log(surface.loss(N, D)) - np.log(loss)
    return float(huber(residual, threshold(delta)).sum())


def _scaled(N, D, loss, delta):
    N, D, loss = measured(N=N, D=D, loss=loss)
    enough(3, "N", N, REMEDY)
    enough(3, "D", D, REMEDY)
    enough(6, "(N, D)", np.unique(np.stack([N, D]), axis=1), REMEDY)
    return search.scaled([N, D], loss, threshold(delta))
