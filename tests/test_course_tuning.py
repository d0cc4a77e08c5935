"""Proves that the stored sweeps of notebook 04 are whole, are made again by their scripts, and
show what the notebook says of them.
"""

from itertools import product

import numpy as np
import pytest

import sweeps
from modelscale import data, tuning
from modelscale.course import Sweep

KEYS = ("optimizer", "kind", "width", "lr")


def losses(sweep, what, **place):
    """The loss of every seed at every rate. Shapes: -> (S, R)."""
    return np.stack([sweep.runs(what, lr=lr, **place) for lr in sweep.values["lr"]], 1)


def drifts(sweep, what, **place):
    """Octaves per 4x width, one for each seed."""
    widths, lrs = sweep.values["width"], sweep.values["lr"]
    best = [
        [tuning.best_lr(lrs, run) for run in losses(sweep, what, width=width, **place)]
        for width in widths
    ]
    return 2 * np.polyfit(np.log2(widths), best, 1)[0]


@pytest.fixture(scope="module", params=["tuning_mlp", "tuning_gpt"])
def stored(request):
    """A stored sweep and the script that made it."""
    return Sweep(sweeps.path(request.param), *KEYS), sweeps.script(request.param)


def test_the_sweeps_are_whole_and_say_where_they_come_from(stored):
    sweep, script = stored
    assert (sweep.values["width"], sweep.values["lr"]) == (list(script.WIDTHS), list(script.LRS))
    assert set(sweep.cells) == set(product(*sweep.values.values()))
    assert sweeps.says_where_it_comes_from(sweep.about, script.SEEDS)
    assert type(script.BASE)(**sweep.about["base"]) == script.BASE
    for cell in sweep.cells.values():
        assert len(cell["loss"]) == len(cell["test_loss"]) == 3
        assert min(x or 9.0 for x in cell["loss"]) > 0


def test_at_the_base_both_parametrisations_are_one(stored):
    sweep, script = stored
    width = getattr(script.BASE, "width", None) or script.BASE.d_model
    for optimizer, lr in product(sweep.values["optimizer"], sweep.values["lr"]):
        pair = [
            sweep.runs("loss", optimizer=optimizer, kind=kind, width=width, lr=lr)
            for kind in ("standard", "mup")
        ]
        assert np.array_equal(*pair)


@pytest.mark.parametrize("what", ["loss", "test_loss"])
def test_the_best_rate_drifts_in_the_standard_and_not_in_mup(stored, what):
    sweep, _ = stored
    for way in sweep.values["optimizer"]:
        standard, mup = (
            drifts(sweep, what, optimizer=way, kind=kind) for kind in ("standard", "mup")
        )
        assert standard.max() < (-0.3 if way == "sgd" else -0.6)
        assert abs(np.median(mup)) < 0.4
        assert np.abs(mup).max() < np.abs(standard).max() - 0.3


def test_a_piece_of_the_mlp_sweep_is_reproduced():
    script = sweeps.script("tuning_mlp")
    sweep = Sweep(script.OUT, *KEYS)
    task = data.signals(4000, 1000, seed=0)
    for kind in ("standard", "mup"):
        for cell in script.sweep("adamw", kind, 64, task, lrs=(2.0**-9, 2.0**-7), seeds=(0, 1)):
            kept = sweep.runs("loss", **{key: cell[key] for key in KEYS})[:2]
            assert cell["loss"] == pytest.approx(kept, abs=0.03)  # other processors round otherwise
