"""The data-constrained law: what repeated data, and parameters in excess of it, are worth.

Legend: N parameters, D tokens seen, U different tokens, C training FLOPs, C = 6 N D.
"""

import math
from dataclasses import dataclass

import numpy as np

from .. import check
from .determined import rise
from .points import measured, threshold
from .power import PowerLaw
from .solve import huber
from .surface import LossSurface

ONE = 2.71  # 90 % of a chi-square with one degree of freedom
NONE, LARGEST = 1e-3, 1e4  # R* below or above is not told from no data, or from fresh ones


@dataclass(frozen=True)
class DataConstrainedLaw:
    """A loss surface in effective parameters and effective data.

    A value repeated R times is worth R* (1 - exp(-R / R*)) fresh ones: nearly R at first, R* at
    most.
    """

    surface: LossSurface
    data_decay: float  # R* of data: repetitions after which it is nearly worthless
    params_decay: float  # R* of parameters in excess of what is optimal for U

    def effective_data(self, D, unique) -> np.ndarray:
        """Fresh tokens as good as D tokens out of `unique` different ones.

        Source: Muennighoff 2023, section 3.
        Taught in: 04_overfitting.
        """
        return repeated(D, unique, self.data_decay)

    def effective_params(self, N, unique) -> np.ndarray:
        """Parameters as good as N where only `unique` tokens can be learnt from.

        Source: Muennighoff 2023, section 3.
        Taught in: 04_overfitting.
        """
        return repeated(N, self.base_params(unique), self.params_decay)

    def base_params(self, unique) -> np.ndarray:
        """The N for which `unique` tokens are the optimal D of the surface."""
        law = self.surface
        a, b = law.alpha, law.beta
        G = (a * law.A / (b * law.B)) ** (1 / (a + b))
        return G * (G * np.asarray(unique, dtype=float)) ** (b / a)

    def loss(self, N, D, unique) -> np.ndarray:
        """The loss of N parameters after D tokens out of `unique` different ones.

        Source: Muennighoff 2023, section 3.
        Taught in: 04_overfitting.
        """
        seen = np.minimum(D, unique)  # of fewer than one epoch, the rest is no data at all
        return self.surface.loss(self.effective_params(N, seen), self.effective_data(D, unique))

    def optimal(self, C, unique) -> tuple[np.ndarray, np.ndarray]:
        """The (N, D) of the lowest loss that C = 6 N D FLOPs can buy with `unique` tokens.

        Found on a grid of log N that closes in on its best point.
        Shapes: C and unique broadcast -> two of that shape.
        Taught in: 04_overfitting.
        """
        C, unique = np.broadcast_arrays(np.asarray(C, float), np.asarray(unique, float))
        centre, width = np.log(self.surface.optimal(C)[0]), math.log(1e4)
        while width > 1e-7:
            log_N = centre + width * np.linspace(-1, 1, 201).reshape(-1, *[1] * C.ndim)
            N = np.exp(log_N)
            best = self.loss(N, C / (6 * N), unique).argmin(axis=0)
            centre = np.take_along_axis(log_N, best[None], axis=0)[0]
            width /= 50
        return np.exp(centre), C / (6 * np.exp(centre))


def repeated(amount, unique, decay: float) -> np.ndarray:
    """Fresh units as good as `amount` units, `unique` of them different; arrays broadcast.

    Source: Muennighoff 2023, section 3.
    """
    amount = np.asarray(amount, dtype=float)
    first = np.minimum(amount, unique)
    if math.isinf(decay):
        return amount + 0 * first
    if decay == 0:  # what `fit_repetition` gives where repeated data are worth nothing
        return first
    return first + first * decay * -np.expm1(-(amount / first - 1) / decay)


def fit_repetition(D, unique, loss, law: PowerLaw, delta: float = 1e-3) -> float:
    """R* of data, fitted alone: `law` says what fresh data give, `loss` what repeated ones gave.

    It is `math.inf` where the points cannot tell repeated data from fresh ones, and 0.0 where they
    cannot tell them from no data. `unique` may be one number.

    Raises: ValueError for values that are not positive and finite, unequal lengths, fewer than two
    points with D above `unique`, or noise in which repeated data may be worth anything.
    Source: Muennighoff 2023, section 3, for the form.
    Taught in: 04_overfitting.
    """
    unique = np.full(np.shape(D), unique) if np.ndim(unique) == 0 else unique
    D, unique, loss = measured(D=D, unique=unique, loss=loss)
    delta, again = threshold(delta), unique < D
    check.integer(
        "repeated points", int(again.sum()), low=2, remedy="train more than one epoch, D > unique"
    )
    D, unique, target = D[again], unique[again], np.log(loss[again])

    def residuals(decays):
        effective = np.stack([repeated(D, unique, decay) for decay in decays])
        return np.log(law.predict(effective)) - target

    found = _lowest(lambda decays: huber(residuals(decays), delta).sum(axis=1))
    return _unless_open(found, residuals([found, NONE, math.inf]), delta)


def _lowest(scores):
    """The R* of the lowest score, on a grid that closes in on its best point."""
    low, high = NONE, LARGEST
    while high / low > 1 + 1e-9:
        grid = np.geomspace(low, high, 201)
        best = int(scores(grid).argmin())
        low, high = grid[max(0, best - 1)], grid[min(200, best + 1)]
    return math.sqrt(low * high)


def _unless_open(found, residual, delta):
    """R*, or the end of its range that noise does not tell from it: residuals of it, 0 and inf."""
    at_best, at_zero, at_inf = huber(residual, delta).sum(axis=1)
    covered = ONE * rise(residual[0], 1, delta) / 2
    like_none, like_fresh = at_zero - at_best < covered, at_inf - at_best < covered
    if like_none and like_fresh:
        raise ValueError(
            f"R*={found:.3g}: no value can be told from another in this noise. Repeat the data "
            "more often, or train more seeds."
        )
    return math.inf if like_fresh else 0.0 if like_none else found
