"""Power laws: the fit is the global minimum, and says when there is no law to be found."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscale import laws
from modelscale.laws import solve

LAW = laws.PowerLaw(E=0.3, A=0.7, alpha=0.5)


def sizes(different=6, seeds=3, span=100.0):
    """x of `different` sizes, each of them `seeds` times."""
    return np.repeat(np.geomspace(1, span, different), seeds)


def noisy(y, noise, seed):
    return y * np.exp(noise * np.random.default_rng(seed).standard_normal(len(y)))


def score(law, x, y):
    return solve.huber(np.log(law.predict(x) / y), 1e-3).sum()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    E=st.floats(0.05, 5), A=st.floats(0.2, 5), alpha=st.floats(0.15, 1.5), unit=st.floats(-15, 15)
)
def test_points_without_noise_give_back_their_law_in_any_unit(E, A, alpha, unit):
    x = sizes(seeds=1)
    fit = laws.fit_power_law(x * math.exp(unit), E + A * x**-alpha)
    assert (fit.E, fit.alpha) == pytest.approx((E, alpha), rel=1e-4)
    assert pytest.approx(A * math.exp(unit * alpha), rel=1e-3) == fit.A
    assert fit.undetermined == ()


@pytest.mark.parametrize("seed", range(5))
def test_no_law_near_or_far_scores_lower(seed):
    """A grid of 40 x 40 floors and exponents, with the best A on a grid of 200 for each."""
    x, rng = sizes(), np.random.default_rng(seed)
    y = noisy(LAW.predict(x), rng.choice([0.005, 0.02, 0.05]), seed)
    fit = laws.fit_power_law(x, y)
    E, alpha, A = np.meshgrid(
        np.linspace(0, y.min(), 40), np.linspace(0.05, 3, 40), np.geomspace(0.2, 3, 200)
    )
    grid = E[..., None] + A[..., None] * x ** -alpha[..., None]
    lowest = solve.huber(np.log(grid / y), 1e-3).sum(axis=-1).min()
    assert score(fit, x, y) <= lowest


def test_a_floor_can_be_ruled_out():
    x = sizes()
    y = noisy(x**-0.4, 0.01, 0)
    bare = laws.fit_power_law(x, y, floor=False)
    assert bare.E == 0 and bare.alpha == pytest.approx(0.4, abs=0.02)
    assert bare.undetermined == ()
    assert score(bare, x, y) >= score(laws.fit_power_law(x, y), x, y)


def test_a_law_without_a_floor_bends_the_exponent_of_one_that_has_it():
    x = sizes()
    bare = laws.fit_power_law(x, LAW.predict(x), floor=False)
    assert bare.alpha < 0.8 * LAW.alpha


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("design", [(6, 3), (20, 1), (5, 1)])
def test_noise_without_a_trend_has_no_exponent(design, seed):
    x = sizes(*design)
    y = noisy(np.ones(len(x)), 0.02, seed)
    for fit in (laws.fit_power_law(x, y), laws.fit_power_law(x, y, floor=False)):
        assert {"A", "alpha"} <= set(fit.undetermined)
        assert fit.predict(x) == pytest.approx(y, rel=0.15)


@pytest.mark.parametrize("x", [sizes(), 1e26 * sizes(4, 3, span=1.1)])
def test_a_value_that_rises_or_jumps_has_no_exponent_and_finite_constants(x):
    for y in (noisy(x**0.1, 0.01, 0), np.where(x > x.min(), 1.0, 1.5)):
        fit = laws.fit_power_law(x, y)
        assert {"A", "alpha"} <= set(fit.undetermined) and 0 <= fit.alpha <= 10
        assert np.isfinite(fit.predict(x)).all()


def test_values_that_are_all_equal_have_no_exponent():
    fit = laws.fit_power_law(sizes(), np.full(18, 2.0))
    assert {"A", "alpha"} <= set(fit.undetermined)
    assert fit.predict(sizes()) == pytest.approx(2.0)


def test_a_short_range_with_much_noise_leaves_the_exponent_open():
    """Half of the draws or more, at 5 % noise over a factor of 4; none at 0.5 % over 100."""
    short = [
        laws.fit_power_law(x, noisy(LAW.predict(x), 0.05, seed))
        for x in [sizes(4, 2, span=4)]
        for seed in range(10)
    ]
    assert sum("alpha" in fit.undetermined for fit in short) >= 5
    for seed in range(5):
        x = sizes()
        assert laws.fit_power_law(x, noisy(LAW.predict(x), 0.005, seed)).undetermined == ()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1, 2, 3], [3, 2, 1], "x has 3 different values: at least 4"),
        ([5, 5, 5, 5], [1, 2, 3, 4], "x has 1 different value:"),
        ([1, 2, 3, 4], [1, 2, 3], "x has 4, y has 3 values"),
        ([1, 2, 3, 4], [1, 2, math.inf, 4], r"y\[2\]=.*finite and above 0"),
        ([-1, 2, 3, 4], [1, 2, 3, 4], r"x\[0\]=.*above 0"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused_in_words(x, y, words):
    for fit in (laws.fit_power_law, laws.bootstrap_power_law):
        with pytest.raises(ValueError, match=words):
            fit(x, y)


def test_a_delta_or_a_level_out_of_range_is_refused():
    x = sizes()
    with pytest.raises(ValueError, match="delta=0"):
        laws.fit_power_law(x, LAW.predict(x), delta=0)
    with pytest.raises(ValueError, match="level="):
        laws.predict_interval(x, LAW.predict(x), 400, level=1.5)
    with pytest.raises(ValueError, match=r"at\[0\]=.*above 0"):
        laws.predict_interval(x, LAW.predict(x), -1, n=10)


def test_the_bootstrap_is_seeded_and_keeps_what_is_fixed():
    x = sizes()
    y = noisy(LAW.predict(x), 0.02, 0)
    fits = laws.bootstrap_power_law(x, y, n=50, seed=3)
    assert fits == laws.bootstrap_power_law(x, y, n=50, seed=3)
    assert len({fit.alpha for fit in fits}) == 50
    low, high = np.quantile([fit.alpha for fit in fits], [0.02, 0.98])
    assert low < laws.fit_power_law(x, y).alpha < high
    assert {fit.E for fit in laws.bootstrap_power_law(x, y, n=20, floor=False)} == {0.0}


def test_an_interval_widens_with_distance_noise_and_level():
    x = sizes()
    y = noisy(LAW.predict(x), 0.01, 1)
    low, high = laws.predict_interval(x, y, [[100, 400, 4e4]], n=200)
    assert low.shape == high.shape == (1, 3) and (low < high).all()
    width = np.log(high / low)[0]
    assert width[0] < width[1] < width[2]
    lower, higher = laws.predict_interval(x, y, 400, n=200, level=0.5)
    assert lower.shape == () and low[0, 1] < lower < higher < high[0, 1]
    rough = laws.predict_interval(x, noisy(LAW.predict(x), 0.05, 1), 400, n=200)
    assert np.log(rough[1] / rough[0]) > 2 * width[1]


def test_an_interval_of_a_new_run_is_wider_than_its_noise():
    """With the law known, 90 % of new runs fall within 1.645 standard deviations."""
    for seed in range(3):
        x = sizes()
        low, high = laws.predict_interval(x, noisy(LAW.predict(x), 0.02, seed), 400, n=300)
        assert np.log(high / low) > 0.8 * 2 * 1.645 * 0.02


def test_most_intervals_hold_a_run_four_times_larger():
    """A small part of experiments/law_coverage.py: 90 % intervals, at least 8 of 12."""
    held = 0
    for seed in range(12):
        x = np.append(sizes(), 400.0)
        y = noisy(LAW.predict(x), 0.01, seed)
        low, high = laws.predict_interval(x[:-1], y[:-1], 400.0, n=100, seed=seed)
        held += low <= y[-1] <= high
    assert held >= 8
