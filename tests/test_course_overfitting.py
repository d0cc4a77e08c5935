"""Proves that the stored sweep of notebook 04 is whole, comes from its script, and shows what the
notebook says of it.
"""

from itertools import product

import numpy as np
import pytest

import sweeps


@pytest.fixture(scope="module")
def stored():
    """The file of the sweep, and its cells by samples, noise and width."""
    content = sweeps.read("double_descent")
    return content, {(c["n"], c["noise"], c["width"]): c for c in content["cells"]}


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    content, cells = stored
    script = sweeps.script("double_descent")
    assert list(cells) == [(n, noise, w) for (n, noise), w in product(script.TASKS, script.WIDTHS)]
    assert sweeps.says_where_it_comes_from(content, script.SEEDS)
    for (n, _, width), cell in cells.items():
        assert cell["params"] == 40 * width + width**2 + 10 * width + 2 * width + 10
        assert cell["step"][-1] == content["recipes"][str(n)]["steps"] == 500 * n // 100
        for what in ("test_error", "train_error", "test_loss"):
            assert np.shape(cell[what]) == (len(script.SEEDS), script.RECORDS)


def test_the_script_makes_the_same_again(stored):
    """The first record of the cheapest cell, trained anew: 50 epochs of 500 samples."""
    script = sweeps.script("double_descent")
    recipe = script.recipe(500)
    networks = [script.models.build(script.count.MLP(2, 8), seed) for seed in script.SEEDS]
    stop = recipe.steps // script.RECORDS
    again = script.fit_many(
        networks,
        script.task(500, 0.15),
        recipe,
        script.SEEDS,
        callback=lambda step, _: step >= stop,
    )
    cell = stored[1][500, 0.15, 8]
    for history, error, loss in zip(again, cell["test_error"], cell["test_loss"], strict=True):
        assert 1 - history.accuracy[0] == pytest.approx(error[0], abs=0.02)
        assert history.test_loss[0] == pytest.approx(loss[0], rel=0.02)


@pytest.mark.parametrize("n", [500, 2000, 4000])
def test_the_stored_sweep_peaks_where_networks_first_fit_their_samples(stored, n):
    widths = sorted({width for _, _, width in stored[1]})
    error, train = (
        np.array([np.median([run[-1] for run in stored[1][n, 0.15, w][what]]) for w in widths])
        for what in ("test_error", "train_error")
    )
    first, top = int((train < 0.05).argmax()), 3 + int(error[3:].argmax())
    assert abs(top - first) <= 1
    assert error[top] > max(error[:top].min(), error[-1]) + 0.02
