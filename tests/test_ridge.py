"""Proves that the closed form of ridge regression is what fits really do: simulated errors lie on
it, the peak stands where features and samples are equally many, and its limits are those that can
be derived by hand.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscale import ridge
from modelscale.ridge import World, power_law_world, risk, simulate

N = 100
WORLD = power_law_world(noise=0.2)
PURE = World(np.ones(90), np.zeros(90), noise=0.5)  # nothing to learn: all is noise


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("capacity", [10, 40, 160, 400, 1000])
def test_simulated_errors_lie_on_the_closed_form(capacity, value):
    runs = np.array([simulate(WORLD, N, capacity, value, seed) for seed in range(12)])
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
        (kappa,) = risk(WORLD, n, p, value).kappa
        eigenvalues = WORLD.eigenvalues[:p]
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


def test_a_tiny_ridge_is_no_ridge():
    p = np.array([20, 80, 130, 1000])
    none, tiny = risk(WORLD, N, p), risk(WORLD, N, p, 1e-9)
    assert tiny.test == pytest.approx(none.test, rel=1e-3)
    assert tiny.train == pytest.approx(none.train, abs=1e-6)


def test_a_large_ridge_learns_nothing():
    found = risk(WORLD, N, [10, 1000], 1e9)
    assert found.test == pytest.approx(1.2, rel=1e-3)
    assert found.train == pytest.approx(1.2, rel=1e-3)


def test_the_best_ridge_removes_the_peak():
    p = np.array([5, 20, 50, 90, 100, 110, 200, 1000])
    tuned = np.min([risk(WORLD, N, p, value).test for value in np.geomspace(1e-3, 1e2, 40)], 0)
    assert (np.diff(tuned) < 0).all()


def test_the_fit_is_that_of_the_normal_equations_and_the_smallest_that_interpolates():
    rng = np.random.default_rng(0)
    for n, p in ((50, 20), (20, 50)):
        x, y = rng.standard_normal((n, p)), rng.standard_normal((n, 3))
        with_ridge = np.linalg.solve(x.T @ x + 0.7 * np.eye(p), x.T @ y)
        assert ridge.fit(x, y, 0.7) == pytest.approx(with_ridge)
        assert ridge.fit(x, y) == pytest.approx(np.linalg.pinv(x) @ y)
        assert ridge.fit(x, y[:, 0], 0.7) == pytest.approx(with_ridge[:, 0])


def test_the_world_is_a_power_law_of_unit_signal():
    world = power_law_world(noise=0.3, n_features=50, spectrum=2.0, target=1.5)
    assert world.eigenvalues[9] == pytest.approx(0.01)
    assert world.powers.sum() == pytest.approx(1)
    assert world.powers[3] / world.powers[0] == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: risk(WORLD, N, 0), "capacity=0"),
        (lambda: risk(WORLD, N, [5, 1001]), "capacity=1001"),
        (lambda: risk(WORLD, 0, 5), "n=0"),
        (lambda: risk(WORLD, N, 5, -1.0), "ridge=-1.0"),
        (lambda: simulate(WORLD, 0, 5), "n=0"),
        (lambda: simulate(WORLD, N, 1001), "capacity=1001"),
        (lambda: simulate(WORLD, N, -5), "capacity=-5"),
        (lambda: simulate(WORLD, N, 5, -1.0), "ridge=-1.0"),
        (lambda: power_law_world(noise=-0.1), "noise=-0.1"),
        (lambda: power_law_world(spectrum=0.0), "spectrum=0.0"),
        (lambda: power_law_world(n_features=0), "n_features=0"),
    ],
)
def test_a_mistake_is_answered_with_its_name(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_features_that_say_the_same_share_what_they_explain():
    x = np.array([[1.0, 1], [2, 2], [3, 3]])
    y = np.array([1.0, 2, 3])
    wanted = np.linalg.solve(x.T @ x + 0.1 * np.eye(2), x.T @ y)
    assert ridge.fit(x, y, 0.1) == pytest.approx(wanted)


def test_single_precision_finds_the_same_least_norm():
    a = np.random.default_rng(0).standard_normal((30, 5))
    x, y = np.c_[a, a @ np.ones((5, 2)) / 3], a.sum(1)  # what is missing is rounded to 1e-8
    single = ridge.fit(x.astype(np.float32), y.astype(np.float32))
    assert single == pytest.approx(ridge.fit(x, y), abs=1e-4)


def test_a_negative_ridge_is_refused():
    with pytest.raises(ValueError, match="ridge=-1"):
        ridge.fit(np.eye(2), np.ones(2), -1)
