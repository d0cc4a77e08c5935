"""What each law predicts, the size that is best for a budget, and the laws as published.

Legend: N parameters, D tokens (or samples), U different ones of them, C training FLOPs, C = 6 N D.
"""

from dataclasses import dataclass

import numpy as np

from .. import check


@dataclass(frozen=True)
class PowerLaw:
    """The law y = E + A x^-alpha."""

    E: float  # what is left for x without end
    A: float  # in units of y times x^alpha
    alpha: float
    undetermined: tuple[str, ...] = ()  # parameters that the fitted points leave open

    def predict(self, x) -> np.ndarray:
        """y at x, of the shape of x."""
        return self.E + self.A * np.asarray(x, dtype=float) ** -self.alpha


@dataclass(frozen=True)
class LossSurface:
    """The law L(N, D) = E + A / N^alpha + B / D^beta."""

    E: float  # the loss that is left for N and D without end
    A: float  # in units of loss times N^alpha
    B: float  # in units of loss times D^beta
    alpha: float
    beta: float
    undetermined: tuple[str, ...] = ()  # parameters that the fitted points leave open

    def loss(self, N, D) -> np.ndarray:
        """The loss of N parameters trained on D tokens; arrays broadcast."""
        N, D = np.asarray(N, dtype=float), np.asarray(D, dtype=float)
        return self.E + self.A * N**-self.alpha + self.B * D**-self.beta

    def optimal(self, C) -> tuple[np.ndarray, np.ndarray]:
        """The (N, D) of the lowest loss that C = 6 N D FLOPs can buy.

        Source: Hoffmann 2022, equation 4.
        """
        for name in ("A", "B", "alpha", "beta"):
            check.number(name, getattr(self, name), remedy="an optimum needs both terms")
        share = self.beta / (self.alpha + self.beta)
        N = self._balance * (np.asarray(C, dtype=float) / 6) ** share
        return N, C / (6 * N)

    @property
    def _balance(self):
        """The G of equation 4: how N and D share a budget."""
        a, b = self.alpha, self.beta
        return (a * self.A / (b * self.B)) ** (1 / (a + b))


@dataclass(frozen=True)
class DataConstrainedLaw:
    """A loss surface in effective parameters and effective data.

    What is repeated R times is worth R* (1 - exp(-R / R*)) fresh ones: nearly R at first, R* at
    most.
    Source: Muennighoff 2023, section 3.
    """

    surface: LossSurface
    data_decay: float  # R* of data: repetitions after which it is nearly worthless
    params_decay: float  # R* of parameters in excess of what is optimal for U

    def loss(self, N, D, unique) -> np.ndarray:
        """The loss of N parameters after D tokens out of `unique` different ones."""
        law, seen = self.surface, np.minimum(D, unique)  # of less than an epoch, the rest is unseen
        deserved = law._balance * (law._balance * seen) ** (law.beta / law.alpha)
        worth = _repeated(D, unique, self.data_decay)
        return law.loss(_repeated(N, deserved, self.params_decay), worth)


def _repeated(amount, unique, decay):
    """Fresh ones that are worth as much as `amount` out of `unique` different ones."""
    first = np.minimum(amount, unique)
    return first + first * decay * -np.expm1(-(amount / first - 1) / decay)


# Hoffmann 2022 (Chinchilla), approach 3, as printed.
HOFFMANN_2022 = LossSurface(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)

# Besiroglu 2024, a replication of approach 3 from the points in Hoffmann's figure. Its standard
# errors are .03, 124.58, 1293.23, .02 and .02.
BESIROGLU_2024 = LossSurface(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)

# Muennighoff 2023: the law of repeated data, with the constants of its published fit.
MUENNIGHOFF_2023 = DataConstrainedLaw(
    surface=LossSurface(1.8691437, 520.82495, 1487.71609, 0.3526596, 0.3526596),
    data_decay=15.387756,
    params_decay=5.309743,
)
