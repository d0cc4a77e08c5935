"""Parabolas, repeated data and transfer agree with what was published, and fits land on it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscale import laws


def test_a_parabola_gives_back_its_size():
    N = np.geomspace(1e6, 1e8, 7)
    found = laws.isoflop(N, 2 + 0.1 * np.log(N / 3e7) ** 2)
    assert (found.N_opt, found.loss_min, found.curvature) == pytest.approx((3e7, 2, 0.1))
    assert found.undetermined == ()
    assert found.loss(3e8) == pytest.approx(2 + 0.1 * math.log(10) ** 2)


def test_the_parabola_of_a_surface_lands_on_its_optimum():
    law, budget = laws.BESIROGLU_2024, 1e20
    best, _ = law.optimal(budget)
    N = best * np.geomspace(1 / 3, 3, 7)
    assert laws.isoflop(N, law.loss(N, budget / (6 * N))).N_opt == pytest.approx(best, rel=0.1)


def test_a_parabola_without_a_lowest_point_among_its_sizes_is_refused_or_flagged():
    N = np.geomspace(1e6, 1e8, 7)
    with pytest.raises(ValueError, match="opens downward"):
        laws.isoflop(N, 2 - 0.1 * np.log(N / 3e7) ** 2)
    with pytest.raises(ValueError, match="outside the measured"):
        laws.isoflop(N, 2 + 0.1 * np.log(N / 3e8) ** 2)
    with pytest.raises(ValueError, match="N has 3 different"):
        laws.isoflop(N[:3], N[:3])
    assert laws.isoflop(N, 2 + 0.1 * np.log(N / 1.5e8) ** 2).undetermined == ("N_opt",)
    flat = [2.01, 2.0, 2.012, 1.99, 2.011, 2.0, 2.01]
    assert laws.isoflop(N, flat).undetermined == ("N_opt",)


def test_repeated_data_are_worth_what_was_published():
    """Facts of Muennighoff 2023: the loss of one of its runs by its own code."""
    law = laws.MUENNIGHOFF_2023
    assert law.loss(6.34e9, 242e9, 25e9) == pytest.approx(2.22564409, rel=1e-6)


def test_data_are_worth_less_with_each_epoch_and_never_more_than_fresh():
    law, unique = laws.MUENNIGHOFF_2023, 1e9
    epochs = np.array([0.1, 0.5, 1, 2, 4, 16, 64, 1e4])
    worth = law.effective_data(epochs * unique, unique)
    assert worth[:3] == pytest.approx(epochs[:3] * unique)
    assert (worth[3:] < epochs[3:] * unique).all() and (np.diff(worth) > 0).all()
    assert worth[-1] == pytest.approx(unique * (1 + law.data_decay))
    assert worth[4] > 0.9 * 4 * unique  # four epochs are nearly as good as fresh data
    assert law.loss(1e9, epochs * unique, unique).shape == epochs.shape


def test_parameters_count_fully_up_to_what_the_unique_data_deserve():
    law = laws.MUENNIGHOFF_2023
    base = law.base_params(25e9)
    assert law.surface.optimal(6 * base * 25e9) == pytest.approx((base, 25e9))
    assert law.effective_params(base, 25e9) == pytest.approx(base)
    assert law.effective_params(10 * base, 25e9) < 6 * base
    uneven = replace(law, surface=laws.HOFFMANN_2022).base_params(25e9)
    assert laws.HOFFMANN_2022.optimal(6 * uneven * 25e9) == pytest.approx((uneven, 25e9))


@pytest.mark.parametrize("unique", [1e8, 25e9])
def test_no_other_size_is_better_for_a_budget_and_unique_data(unique):
    law, budgets = laws.MUENNIGHOFF_2023, np.geomspace(1e18, 1e24, 4)
    N, D = law.optimal(budgets, unique)
    assert pytest.approx(budgets) == 6 * N * D
    other = N * np.geomspace(1e-4, 1e4, 4001)[:, None]
    best = law.loss(N, D, unique)
    assert (best <= law.loss(other, budgets / (6 * other), unique) * (1 + 1e-9)).all()


def test_with_data_enough_the_optimum_is_that_of_the_surface_and_without_it_epochs_come_first():
    """Muennighoff 2023: excess parameters decay faster (R* 5.3 against 15.4), so fewer are best."""
    law = laws.MUENNIGHOFF_2023
    assert law.optimal(1e20, 1e15) == pytest.approx(law.surface.optimal(1e20), rel=1e-3)
    for unique in (1e9, 1e10):
        N, D = law.optimal(1e22, unique)
        fresh_N, fresh_D = law.surface.optimal(1e22)
        assert 0.95 * fresh_N > N and 1.05 * fresh_D < D


@pytest.mark.parametrize("truth", [0.5, 3.0, 15.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_decay_of_repeated_data_is_found_again(truth, seed):
    law = laws.PowerLaw(1.0, 30.0, 0.4)
    D, unique = (a.ravel() for a in np.meshgrid([2e3, 4e3, 1.6e4, 6.4e4, 2.5e5], [1e3, 2e3]))
    repeated = replace(laws.MUENNIGHOFF_2023, data_decay=truth).effective_data(D, unique)
    loss = noisy(law.predict(repeated), 0.002, seed)
    assert laws.fit_repetition(D, unique, loss, law) == pytest.approx(truth, rel=0.25)


def test_where_repeats_are_worth_nothing_the_first_pass_is_all():
    law = replace(laws.MUENNIGHOFF_2023, data_decay=0.0)
    assert law.effective_data([5, 10, 20, 40], 10).tolist() == [5, 10, 10, 10]
    nearly = replace(law, data_decay=1e-9)
    assert law.loss(1e8, 2e10, 1e10) == pytest.approx(nearly.loss(1e8, 2e10, 1e10))


def test_repeated_data_as_good_as_fresh_or_as_none_are_told_so():
    law = laws.PowerLaw(1.0, 30.0, 0.4)
    D, unique = np.array([2e3, 4e3, 8e3, 8e3]), 1e3
    for seed in range(3):
        fresh = laws.fit_repetition(D, [unique] * 4, noisy(law.predict(D), 0.01, seed), law)
        none = noisy(law.predict(np.full(4, unique)), 0.01, seed)
        assert fresh > 3 and laws.fit_repetition(D, [unique] * 4, none, law) < 0.1
    assert laws.fit_repetition(D, [unique] * 4, law.predict(D), law) == math.inf


def test_noise_that_covers_what_repetition_does_is_no_decay():
    law = laws.PowerLaw(1.0, 30.0, 0.4)
    D = np.array([2e3, 4e3, 8e3, 1.6e4])
    rough = law.predict(np.sqrt(1e3 * D)) * np.exp([0.6, -0.7, 0.8, -0.6])
    with pytest.raises(ValueError, match="no value can be told"):
        laws.fit_repetition(D, 1e3, rough, law)


def test_without_repeated_points_there_is_no_decay():
    with pytest.raises(ValueError, match="repeated points=1"):
        laws.fit_repetition([1, 5], [2, 2], [1, 1], laws.PowerLaw(0.3, 0.7, 0.5))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(k=st.floats(0.1, 1e4), alpha=st.floats(0.05, 0.9), beta=st.floats(-0.5, 0.9))
def test_a_transfer_law_is_found_again(k, alpha, beta):
    truth = laws.TransferLaw(k, alpha, beta)
    D_F, N = (a.ravel() for a in np.meshgrid([1e2, 1e3, 1e4], [1e5, 1e6]))
    fit = laws.fit_transfer_law(D_F, N, truth.effective_data(D_F, N))
    assert (fit.k, fit.alpha, fit.beta) == pytest.approx((k, alpha, beta), rel=1e-6, abs=1e-9)


def test_pretraining_is_worth_what_was_published():
    """Hernandez 2021: text to Python, D_T = 1.9e4 D_F^.18 N^.38."""
    found = laws.HERNANDEZ_2021_PYTHON.effective_data(np.array([1e5, 1e8]), 1e8)
    assert found == pytest.approx(1.9e4 * np.array([10**0.9, 10**1.44]) * 10**3.04)


def test_transfer_that_was_not_varied_cannot_be_fitted():
    with pytest.raises(ValueError, match="N has 1 different"):
        laws.fit_transfer_law([1, 2, 3, 4], [5, 5, 5, 5], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="correlation"):
        laws.fit_transfer_law([1, 2, 4, 8], [10, 20, 40, 80], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="at least 4"):
        laws.fit_transfer_law([1, 2, 4], [10, 40, 20], [1, 2, 3])


def noisy(y, noise, seed):
    return y * np.exp(noise * np.random.default_rng(seed).standard_normal(len(y)))
