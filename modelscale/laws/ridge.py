"""Ridge regression in closed form: the errors of a linear model of p features and n samples.

The world has M independent Gaussian features. A label is a sum of all of them plus noise. The model
is fitted to the first p features: the others act on it as noise. It minimises the sum of squared
errors plus `ridge` times the sum of squared weights; 0 stands for the limit. P counts values of p.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from .. import check


@dataclass(frozen=True, eq=False)
class World:
    """Where samples come from."""

    eigenvalues: np.ndarray  # (M,) variance of each feature, falling
    powers: np.ndarray  # (M,) what each feature contributes to the variance of the clean label
    noise: float  # variance of the noise on a label


@dataclass(frozen=True, eq=False)
class Risk:
    """Mean squared errors on noisy labels, expected over data sets: test (P,), train (P,)."""

    test: np.ndarray  # on new samples
    train: np.ndarray  # on the samples fitted


def power_law_world(noise: float = 0.2) -> World:
    """A world of 1,000 features, with eigenvalues i^-1.1 and powers i^-1.3 that add up to 1."""
    i = np.arange(1.0, 1001)
    return World(i**-1.1, i**-1.3 / (i**-1.3).sum(), check.number("noise", noise, above=False))


def risk(world: World, n: int, capacity, ridge: float = 0.0) -> Risk:
    """Test and training error with n samples, for each number p of features in `capacity`.

    Exact as n and p grow together, a few per cent off from about 50 on. With p = n and no ridge the
    test error is infinite.
    Shapes: capacity (P,), or one number -> (P,).
    Source: Simon 2023 (The eigenlearning framework), the eigenlearning equations; features left out
    are noise as in Hastie 2022 (Surprises in high-dimensional ridgeless least squares).
    """
    check.integer("n", n), check.number("ridge", ridge, above=False)
    errors = [_errors(world, n, p, ridge) for p in np.atleast_1d(capacity).tolist()]
    return Risk(*np.transpose(errors))


def _errors(world, n, p, ridge):
    check.integer("capacity", p, high=len(world.eigenvalues))
    fitted, learned = world.eigenvalues[:p], np.zeros(len(world.eigenvalues))
    learned[:p] = fitted / (fitted + _kappa(fitted, n, ridge))  # 0 to 1
    room = n - (learned**2).sum()
    missed = ((1 - learned) ** 2 * world.powers).sum() + world.noise
    test = n * missed / room if room > 1e-9 * n else np.inf
    left = 1 - learned.sum() / n  # of each sample's noise, what the model cannot follow
    return test, left**2 * test if left > 1e-9 and np.isfinite(test) else 0.0


def _kappa(fitted, n, ridge):
    """The kappa with n = sum of eigenvalue / (eigenvalue + kappa) + ridge / kappa; 0 for none.

    Features with an eigenvalue well above it are learned, those well below it are not.
    """
    low = max(fitted[-1] * (len(fitted) - n) / n, ridge / n)  # below the root; see the sum
    if low <= 0:
        return 0.0

    def excess(log_kappa):
        kappa = np.exp(log_kappa)
        return (fitted / (fitted + kappa)).sum() + ridge / kappa - n

    return np.exp(brentq(excess, np.log(low) - 1e-9, np.log((fitted.sum() + ridge) / n) + 1e-9))
