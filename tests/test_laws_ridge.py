"""Proves that the closed form of ridge regression is what fits really do: simulated errors lie on
it, the peak stands where features and samples are equally many, and its limits are those that can
be derived by hand.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscale.laws import ridge
from modelscale.laws.ridge import World, power_law_world, risk

N = 100
WORLD = power_law_world(noise=0.2)
PURE = World(np.ones(90), np.zeros(90), noise=0.5)  # nothing to learn: all is noise


def simulated(capacity, value, seed):
    """(test, training) error of one model fitted to N samples; the test error is exact."""
    rng, scale = np.random.default_rng(seed), np.sqrt(WORLD.eigenvalues)
    truth = np.sqrt(WORLD.powers) / scale
    x = rng.standard_normal((N, len(scale))) * scale
    y = x @ truth + np.sqrt(WORLD.noise) * rng.standard_normal(N)
    seen, weights = x[:, :capacity], np.zeros(len(scale))
    if value:
        weights[:capacity] = seen.T @ np.linalg.solve(seen @ seen.T + value * np.eye(N), y)
    else:
        weights[:capacity] = np.linalg.lstsq(seen, y, rcond=None)[0]
    test = WORLD.eigenvalues @ (weights - truth) ** 2 + WORLD.noise
    return test, np.mean((y - x @ weights) ** 2)


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("capacity", [10, 40, 160, 1000])
def test_simulated_errors_lie_on_the_closed_form(capacity, value):
    runs = np.array([simulated(capacity, value, seed) for seed in range(12)])
    found = risk(WORLD, N, capacity, value)
    assert runs[:, 0].mean() == pytest.approx(found.test[0], rel=0.08)
    assert runs[:, 1].mean() == pytest.approx(found.train[0], rel=0.12, abs=1e-3)


@pytest.mark.parametrize("n", [50, 100, 300])
def test_without_a_ridge_the_test_error_is_infinite_at_as_many_features_as_samples(n):
    p = np.arange(n - 40, n + 41)
    found = risk(WORLD, n, p)
    assert list(p[np.isinf(found.test)]) == [n]
    assert (np.diff(found.test[:40]) > 0).all() and (np.diff(found.test[41:]) < 0).all()
    assert (found.train[:40] > 0).all() and (found.train[40:] == 0).all()


def test_noise_alone_is_shared_out_between_training_and_test():
    """With p < n sufficient features: noise (1 - p/n) and noise / (1 - p/n)."""
    p = np.array([10, 50, 90])
    found = risk(PURE, N, p)
    assert found.train == pytest.approx(0.5 * (1 - p / N))
    assert found.test == pytest.approx(0.5 / (1 - p / N))


def test_kappa_solves_its_equation():
    for n, p, value in ((100, 400, 0.0), (100, 400, 2.0), (100, 30, 2.0), (20, 1000, 50.0)):
        eigenvalues = WORLD.eigenvalues[:p]
        kappa = ridge._kappa(eigenvalues, n, value)
        assert (eigenvalues / (eigenvalues + kappa)).sum() + value / kappa == pytest.approx(n)


@given(st.integers(5, 400), st.integers(1, 1000), st.floats(1e-3, 1e3), st.floats(0, 3))
def test_errors_keep_their_order_everywhere(n, p, value, noise):
    """Training below test error; no test error below the noise, or what is left out."""
    world = power_law_world(noise)
    found = risk(world, n, p, value)
    assert 0 <= found.train[0] <= found.test[0] * (1 + 1e-9)
    assert found.test[0] >= noise + world.powers[p:].sum() - 1e-9


@given(st.integers(5, 400), st.integers(1, 1000), st.floats(1e-2, 1e2))
def test_units_of_the_features_change_nothing(n, p, scale):
    """Eigenvalues and ridge in other units: the same errors."""
    other = World(scale * WORLD.eigenvalues, WORLD.powers, WORLD.noise)
    here, there = risk(WORLD, n, p, 0.5), risk(other, n, p, 0.5 * scale)
    assert there.test[0] == pytest.approx(here.test[0])
    assert there.train[0] == pytest.approx(here.train[0])


def test_the_limits_of_the_ridge():
    """A tiny one is none, a huge one learns nothing, the best one removes the peak."""
    p = np.array([20, 80, 130, 1000])
    none, tiny = risk(WORLD, N, p), risk(WORLD, N, p, 1e-9)
    assert tiny.test == pytest.approx(none.test, rel=1e-3)
    assert tiny.train == pytest.approx(none.train, abs=1e-6)
    huge = risk(WORLD, N, [10, 1000], 1e9)
    assert [*huge.test, *huge.train] == pytest.approx([1.2] * 4, rel=1e-3)
    p = [5, 20, 50, 90, 100, 110, 200, 1000]
    tuned = np.min([risk(WORLD, N, p, value).test for value in np.geomspace(1e-3, 1e2, 40)], 0)
    assert (np.diff(tuned) < 0).all()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: risk(WORLD, N, 0), "capacity=0"),
        (lambda: risk(WORLD, N, [5, 1001]), "capacity=1001"),
        (lambda: risk(WORLD, 0, 5), "n=0"),
        (lambda: risk(WORLD, N, 5, -1.0), "ridge=-1.0"),
        (lambda: power_law_world(noise=-0.1), "noise=-0.1"),
    ],
)
def test_a_mistake_is_answered_with_its_name(call, name):
    with pytest.raises(ValueError, match=name):
        call()
