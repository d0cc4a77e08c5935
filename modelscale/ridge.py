"""Ridge regression in closed form: the errors of a linear model of p features and n samples.

The world has M independent Gaussian features x_i of variance eigenvalue_i. A label is a sum of all
of them, to whose variance feature i contributes power_i, plus noise. The model is fitted to the
first p features, p being its capacity: the others act on it as noise. It minimises the sum of
squared errors plus `ridge` times the sum of squared weights; a ridge of 0 stands for its limit, the
smallest of all weights with the smallest error.
Legend: n samples, M features, p of them fitted, P capacities looked at.
"""

from dataclasses import dataclass

import numpy as np

from . import check

HALVINGS = 50  # of an interval in log kappa: far below rounding


@dataclass(frozen=True, eq=False)
class World:
    """Where samples come from. eigenvalues (M,) falling, powers (M,), noise a variance."""

    eigenvalues: np.ndarray  # variance of each feature
    powers: np.ndarray  # what each feature contributes to the variance of the clean label
    noise: float  # variance of the noise on a label


@dataclass(frozen=True, eq=False)
class Risk:
    """Mean squared errors on noisy labels, for each capacity: test (P,), train (P,), kappa (P,)."""

    test: np.ndarray  # on new samples
    train: np.ndarray  # on the samples fitted
    kappa: np.ndarray  # a feature with an eigenvalue well above it is learned, well below it not


def power_law_world(
    noise: float = 0.2, n_features: int = 1000, spectrum: float = 1.1, target: float = 1.3
) -> World:
    """A world with eigenvalues i^-spectrum and powers i^-target that add up to 1.

    Raises: ValueError for a negative noise, an exponent not above 0, or no features.
    Taught in: 04_overfitting.
    """
    check.number("spectrum", spectrum), check.number("target", target)
    i = np.arange(1.0, check.integer("n_features", n_features) + 1)
    powers = i**-target
    return World(i**-spectrum, powers / powers.sum(), check.number("noise", noise, above=False))


def risk(world: World, n: int, capacity, ridge: float = 0.0) -> Risk:
    """Test and training error, expected over data sets of n samples, of each capacity.

    Exact as n and p grow together, a few per cent off from about 50 on. At capacity n without a
    ridge the test error is infinite.

    Shapes: capacity (P,), or one number -> (P,).
    Raises: ValueError for a capacity outside 1..M, n below 1, or a negative ridge.
    Source: Simon 2023 (The eigenlearning framework), the eigenlearning equations; features left out
    are noise as in Hastie 2022 (Surprises in high-dimensional ridgeless least squares).
    Taught in: 04_overfitting.
    """
    p = np.atleast_1d(capacity)
    for value in p.tolist():
        check.integer("capacity", value, high=len(world.eigenvalues))
    check.integer("n", n), check.number("ridge", ridge, above=False)
    fitted = np.arange(len(world.eigenvalues)) < p[:, None]  # (P, M)
    kappa = _kappa(np.where(fitted, world.eigenvalues, 0.0), n, p, ridge)
    learned = fitted * world.eigenvalues / (world.eigenvalues + kappa[:, None])  # 0 to 1, (P, M)
    room = n - (learned**2).sum(1)
    missed = ((1 - learned) ** 2 * world.powers).sum(1) + world.noise
    test = np.divide(n * missed, room, out=np.full(len(p), np.inf), where=room > 1e-9 * n)
    left = 1 - learned.sum(1) / n  # of each sample's noise, what the model cannot follow
    train = np.where(np.isfinite(test) & (left > 1e-9), left**2 * np.minimum(test, 1e300), 0.0)
    return Risk(test, train, kappa)


def simulate(world: World, n: int, capacity: int, ridge: float = 0.0, seed: int = 0) -> tuple:
    """(test error, training error) of one model fitted to n samples drawn by `seed`.

    The test error is exact: the features are independent, so no test samples are needed.
    Taught in: 04_overfitting.
    """
    check.integer("n", n), check.integer("capacity", capacity, high=len(world.eigenvalues))
    check.number("ridge", ridge, above=False)
    rng, scale = np.random.default_rng(seed), np.sqrt(world.eigenvalues)
    truth = np.sqrt(world.powers) / scale  # the weights of the labels
    x = rng.standard_normal((n, len(scale))) * scale
    y = x @ truth + np.sqrt(world.noise) * rng.standard_normal(n)
    weights = np.zeros(len(scale))
    weights[:capacity] = fit(x[:, :capacity], y, ridge)
    test = world.eigenvalues @ (weights - truth) ** 2 + world.noise
    return test, np.mean((y - x @ weights) ** 2)


def fit(x: np.ndarray, y: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """The weights of ridge regression, of least norm where the ridge is 0.

    Shapes: x (n, p), y (n,) or (n, K) -> (p,) or (p, K).
    Raises: ValueError for a negative ridge.
    Taught in: 04_overfitting.
    """
    check.number("ridge", ridge, above=False)
    left, size, right = np.linalg.svd(x, full_matrices=False)
    least = max(x.shape) * np.finfo(size.dtype).eps * size[0]  # below: directions not in the data
    size = np.where(size > least, size, np.inf)
    shrunk = 1 / (size + ridge / size)
    along = left.T @ y
    return right.T @ (along * (shrunk if along.ndim == 1 else shrunk[:, None]))


def _kappa(eigenvalues, n, p, ridge):
    """The kappa with n = sum of eigenvalue / (eigenvalue + kappa) + ridge / kappa; 0 for none.

    Shapes: eigenvalues (P, M), 0 where not fitted; p (P,) -> (P,).
    Source: Simon 2023, the implicit equation for kappa.
    """
    smallest = eigenvalues[np.arange(len(p)), p - 1]
    low = np.maximum(smallest * (p - n) / n, ridge / n)  # below the root; see the sum
    high = (eigenvalues.sum(1) + ridge) / n  # above the root
    solvable = low > 0
    low = np.where(solvable, low, high)
    for _ in range(HALVINGS):
        middle = np.sqrt(low * high)
        total = (eigenvalues / (eigenvalues + middle[:, None])).sum(1) + ridge / middle
        low, high = np.where(total > n, middle, low), np.where(total > n, high, middle)
    return np.where(solvable, np.sqrt(low * high), 0.0)
