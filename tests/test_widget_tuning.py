"""The explorer of notebook 03 tells the truth: stored losses, every control, every value."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
import sweeps
from modelscale.widgets import tuning

STATE = {"optimizer": "adamw", "kind": "standard", "width": 128, "lr": 2.0**-5}


@pytest.fixture(scope="module")
def sweep():
    """The stored sweep of the MLP."""
    return tuning.Sweep(sweeps.path("tuning_mlp"))


@pytest.fixture(scope="module")
def explorer(sweep):
    """The explorer over it."""
    return tuning.tuning_explorer(sweep)


def test_what_is_read_is_what_was_stored(sweep):
    stored = sweeps.read("tuning_mlp")
    assert set(sweep.optimizers) == {"adamw", "sgd"} and sweep.widths == [32, 64, 128, 256, 512]
    for cell in stored["cells"]:
        place = cell["optimizer"], cell["kind"], cell["width"]
        column = sweep.lrs(*place).index(cell["lr"])
        for split in ("loss", "test_loss"):
            read = sweep.runs(*place, split)[:, column]
            assert [None if math.isinf(x) else x for x in read] == cell[split]


def test_the_numbers_are_medians_of_the_seeds(sweep):
    found = tuning.compute(sweep, **STATE)
    lrs = sweep.lrs("adamw", "standard", 128)
    here = np.median(sweep.runs("adamw", "standard", 128), 0)
    narrow = np.median(sweep.runs("adamw", "standard", 32), 0)
    assert found["loss"] == here[lrs.index(2.0**-5)] and found["best"] == here.min()
    assert found["at_best_lr"] == lrs[here.argmin()] and found["base_lr"] == lrs[narrow.argmin()]
    assert found["base_cost"] == pytest.approx(here[narrow.argmin()] - here.min())


@pytest.mark.parametrize("control", STATE)
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, control):
    explorers.assert_every_value_counts(explorers.put(explorer, STATE), control)


def test_points_and_stars_lie_at_the_stored_losses_within_the_picture(explorer, sweep):
    for optimizer in sweep.optimizers:
        for width in sweep.widths:
            explorer.controls["optimizer"].value = optimizer
            explorer.controls["width"].value = width
            rates, (image, _), point, frame = explorer.picture.art
            ax = point.axes
            for kind, (line, _, star) in rates.items():
                losses = np.median(sweep.runs(optimizer, kind, width), 0)
                finite = np.isfinite(losses)
                assert line.get_ydata()[finite] == pytest.approx(losses[finite])
                (x,), (y,) = star.get_data()
                assert (x, y) == (sweep.lrs(optimizer, kind, width)[losses.argmin()], losses.min())
                assert ax.get_xlim()[0] < x < ax.get_xlim()[1]
                assert ax.get_ylim()[0] < y < ax.get_ylim()[1]
            assert ax.get_ylim()[0] < point.get_ydata()[0] < ax.get_ylim()[1]
            assert frame.get_ydata()[0] == sweep.widths.index(width)
            assert image.get_array().shape == (5, len(sweep.lrs(optimizer, kind, width)))


def test_moving_draws_no_axes_again(explorer):
    before = explorer.picture.full_draws
    for name in STATE:
        for value in explorers.values_of(explorer.controls[name]):
            explorer.controls[name].value = value
    assert explorer.picture.full_draws == before


def test_a_run_that_diverged_is_called_so(sweep):
    words = tuning.describe(sweep, "sgd", "standard", 512, 2.0**-1)
    assert "rate 2^-1: diverged" in words and "inf" not in words


def test_the_map_stands_alone(sweep):
    ax = Figure().subplots()
    image, best = tuning.plot_map(ax, sweep, "adamw", "standard")
    rows = [np.median(sweep.runs("adamw", "standard", w), 0).argmin() for w in sweep.widths]
    assert list(best.get_xdata()) == rows and list(best.get_ydata()) == [0, 1, 2, 3, 4]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "width")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["32", "64", "128", "256", "512"]
    assert np.diff(ax.get_xlim())[0] == image.get_array().shape[1]
