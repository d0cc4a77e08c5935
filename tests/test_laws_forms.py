"""The laws are what was published, and their optima cannot be bettered."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from modelscale import laws
from modelscale.laws.forms import _repeated


@pytest.mark.parametrize("law", [laws.HOFFMANN_2022, laws.BESIROGLU_2024])
def test_the_optimum_is_the_lowest_loss_of_its_budget(law):
    budgets = np.geomspace(1e18, 1e26, 5)
    N, D = law.optimal(budgets)
    assert pytest.approx(budgets) == 6 * N * D
    near = np.geomspace(0.5, 2, 101)[:, None]
    assert (law.loss(N * near, D / near).argmin(axis=0) == 50).all()


def test_chinchilla_is_the_optimum_of_the_replication():
    """Besiroglu 2024: about 20 tokens a parameter at 5.76e23 FLOPs, as Chinchilla has."""
    N, D = laws.BESIROGLU_2024.optimal(5.76e23)
    assert 15 < D / N < 25 and 60e9 < N < 80e9


def test_an_optimum_needs_both_terms():
    with pytest.raises(ValueError, match="B=0"):
        laws.LossSurface(1, 1, 0, 0.3, 0.3).optimal(1e20)


def test_repeated_data_are_worth_what_was_published():
    """Facts of Muennighoff 2023: the loss of one of its runs by its own code."""
    law = laws.MUENNIGHOFF_2023
    assert law.loss(6.34e9, 242e9, 25e9) == pytest.approx(2.22564409, rel=1e-6)


def test_data_are_worth_less_with_each_epoch_and_never_more_than_fresh():
    law, unique = laws.MUENNIGHOFF_2023, 1e9
    epochs = np.array([0.1, 0.5, 1, 2, 4, 16, 64, 1e4])
    worth = _repeated(epochs * unique, unique, law.data_decay)
    assert worth[:3] == pytest.approx(epochs[:3] * unique)
    assert (worth[3:] < epochs[3:] * unique).all() and (np.diff(worth) > 0).all()
    assert worth[-1] == pytest.approx(unique * (1 + law.data_decay))
    assert worth[4] > 0.9 * 4 * unique  # four epochs are nearly as good as fresh data
    assert law.loss(1e9, epochs * unique, unique).shape == epochs.shape


@pytest.mark.parametrize("surface", [laws.MUENNIGHOFF_2023.surface, laws.HOFFMANN_2022])
def test_parameters_count_fully_up_to_what_the_unique_data_deserve(surface):
    law, unique = replace(laws.MUENNIGHOFF_2023, surface=surface), 25e9
    N, D = np.log(surface.optimal(np.geomspace(1e18, 1e28, 101)))
    base = np.exp(np.interp(np.log(unique), D, N))  # a straight line
    assert law.loss(base, unique, unique) == pytest.approx(surface.loss(base, unique))
    assert law.loss(10 * base, unique, unique) > surface.loss(6 * base, unique)


def test_where_repeats_are_worth_nothing_the_first_pass_is_all():
    worth = [_repeated(np.array([5, 10, 20, 40]), 10, decay) for decay in (1e-9, 1e9)]
    assert worth[0] == pytest.approx([5, 10, 10, 10]) and worth[1] == pytest.approx([5, 10, 20, 40])


def test_the_laws_start_without_torch():
    code = "import sys, modelscale.laws; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
