"""Proves that the stored sweep of notebook 05 is whole, comes from its script, and shows what the
notebook says of it.
"""

from itertools import product

import numpy as np
import pytest
import torch

import sweeps
from modelscale import data
from modelscale.course import Sweep, overfitting
from modelscale.train import History


@pytest.fixture(scope="module")
def stored():
    """The stored sweep and the script that made it."""
    path = sweeps.path("double_descent")
    return Sweep(path, "n", "noise", "width"), sweeps.script("double_descent")


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    sweep, script = stored
    assert list(sweep.cells) == [(*task, w) for task, w in product(script.TASKS, script.WIDTHS)]
    assert sweeps.says_where_it_comes_from(sweep.about, script.SEEDS)
    for (n, _, width), cell in sweep.cells.items():
        assert cell["params"] == 40 * width + width**2 + 10 * width + 2 * width + 10
        assert cell["step"][-1] == sweep.about["recipes"][str(n)]["steps"] == 500 * n // 100
        for what in ("test_error", "train_error", "test_loss"):
            assert np.shape(cell[what]) == (len(script.SEEDS), script.RECORDS)


def test_the_script_makes_the_same_again(stored):
    """The first record of the cheapest cell, trained anew: 50 epochs of 500 samples."""
    sweep, script = stored
    recipe = script.recipe(500)
    networks = [script.models.build(script.count.MLP(2, 8), seed) for seed in script.SEEDS]
    stop, task = recipe.steps // script.RECORDS, script.task(500, 0.15)
    again = script.fit_many(
        networks, task, recipe, script.SEEDS, callback=lambda step, _: step >= stop
    )
    cell = sweep.cell(n=500, noise=0.15, width=8)
    for history, error, loss in zip(again, cell["test_error"], cell["test_loss"], strict=True):
        assert 1 - history.accuracy[0] == pytest.approx(error[0], abs=0.02)
        assert history.test_loss[0] == pytest.approx(loss[0], rel=0.02)


def test_only_team_c_puts_copies_on_both_sides():
    task = data.signals(100, 50)
    for team, copies in (("a", 1), ("b", 1), ("c", 4)):
        split = overfitting.splits(team, task, seed=0)
        assert (len(split.y_train), len(split.y_test)) == (80 * copies, 20 * copies)
        nearest = torch.cdist(split.x_test, split.x_train).min(1).values
        assert bool((nearest < 4).float().mean() > 0.9) == (team == "c")


def test_only_team_b_reports_its_best_record():
    runs = [History(accuracy=[0.2, 0.4, 0.3]), History(accuracy=[0.3, 0.6, 0.5])]
    assert [overfitting.reported(team, runs) for team in "abc"] == [(0, 0.3), (1, 0.6), (0, 0.3)]
