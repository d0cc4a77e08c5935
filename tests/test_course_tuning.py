"""The stored sweeps show what notebook 03 says of them."""

from itertools import product

import numpy as np
import pytest

import sweeps
from answers.tuning_at_scale import table
from modelscale import count, data, tuning
from modelscale.widgets.tuning import Sweep

SPLITS = ("loss", "test_loss")


def drifts(sweep, optimizer, kind, split):
    """Octaves per 4x width, one for each seed."""
    best = [
        [
            tuning.best_lr(sweep.lrs(optimizer, kind, width), run)
            for run in sweep.runs(optimizer, kind, width, split)
        ]
        for width in sweep.widths
    ]
    return tuning.octaves_per_4x(sweep.widths, np.array(best).T)


@pytest.fixture(scope="module", params=["tuning_mlp", "tuning_gpt"])
def stored(request):
    """A stored sweep and the script that made it."""
    return Sweep(sweeps.path(request.param)), sweeps.script(request.param)


def test_the_sweeps_are_whole_and_say_where_they_come_from(stored):
    sweep, script = stored
    assert sweep.widths == list(script.WIDTHS)
    assert sweeps.says_where_it_comes_from(sweep.about, script.SEEDS)
    assert type(script.BASE)(**sweep.base) == script.BASE
    for place in product(sweep.optimizers, ("standard", "mup"), sweep.widths):
        assert sweep.lrs(*place) == list(script.LRS)
        for split in SPLITS:
            runs = sweep.runs(*place, split)
            assert runs.shape == (3, len(script.LRS)) and runs.min() > 0


def test_at_the_base_both_parametrisations_are_one(stored):
    sweep, script = stored
    width = getattr(script.BASE, "width", None) or script.BASE.d_model
    for optimizer, split in product(sweep.optimizers, SPLITS):
        pair = [sweep.runs(optimizer, kind, width, split) for kind in ("standard", "mup")]
        assert np.array_equal(*pair)


@pytest.mark.parametrize("split", SPLITS)
def test_the_best_rate_drifts_in_the_standard_and_not_in_mup(stored, split):
    sweep, _ = stored
    for optimizer in sweep.optimizers:
        standard, mup = (drifts(sweep, optimizer, kind, split) for kind in ("standard", "mup"))
        assert standard.max() < (-0.3 if optimizer == "sgd" else -0.6)
        assert abs(np.median(mup)) < 0.4
        assert np.abs(mup).max() < np.abs(standard).max() - 0.3


def test_a_rate_tuned_narrow_costs_more_in_the_standard():
    sweep = Sweep(sweeps.path("tuning_mlp"))
    for width, least in ((256, 0.2), (512, 0.4)):
        losses = {}
        for kind in ("standard", "mup"):
            narrow = np.median(sweep.runs("adamw", kind, 32), 0).argmin()
            wide = np.median(sweep.runs("adamw", kind, width), 0)
            losses[kind] = wide[narrow] - wide.min()
        assert losses["standard"] > least > 0.1 > losses["mup"]


def test_in_mup_wider_is_no_worse_at_any_rate_that_is_stable():
    sweep = Sweep(sweeps.path("tuning_mlp"))
    medians = np.array([np.median(sweep.runs("adamw", "mup", w), 0) for w in sweep.widths])
    assert (np.diff(medians[:, :8], axis=0) < 0.03).all()
    standard = np.array([np.median(sweep.runs("adamw", "standard", w), 0) for w in sweep.widths])
    assert (np.diff(standard[:, :8], axis=0) > 0.2).any()


def test_a_piece_of_the_mlp_sweep_is_reproduced():
    script = sweeps.script("tuning_mlp")
    sweep = Sweep(script.OUT)
    task = data.signals(4000, 1000, seed=0)
    for kind in ("standard", "mup"):
        cells = script.sweep("adamw", kind, 64, task, lrs=(2.0**-9, 2.0**-7), seeds=(0, 1))
        for cell, column in zip(cells, (1, 3), strict=True):
            kept = sweep.runs("adamw", kind, 64)[:2, column]
            assert cell["loss"] == pytest.approx(kept, abs=0.03)  # other processors round otherwise


def test_the_checkers_table_is_that_of_a_network():
    base, shape = count.MLP(3, 16), count.MLP(3, 64)
    for name, found in tuning.rules(shape, base).items():
        if name != "layers.3.bias":  # as long as there are classes at every width
            assert found.adamw == table(found.role, "adamw", 4)
            assert found.sgd == table(found.role, "sgd", 4)
