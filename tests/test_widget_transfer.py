"""The explorer of notebook 05 tells the truth: stored accuracies, gains seed by seed, every
control, and nothing where nothing was measured.
"""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
import sweeps
from modelscale.widgets import transfer

FILES = (sweeps.path("transfer_ladder"), sweeps.path("transfer_sources"))
STATE = {"pair": "letters to moved digits", "labels": 5}


@pytest.fixture(scope="module")
def sweep():
    """The two stored sweeps."""
    return transfer.Sweep(*FILES)


@pytest.fixture(scope="module")
def explorer(sweep):
    """The explorer over them."""
    return transfer.transfer_explorer(sweep)


def test_what_is_read_is_what_was_stored(sweep):
    ladder, sources = (json.loads(path.read_text()) for path in FILES)
    for cell in ladder["cells"]:
        at, runs = sweep.curve(cell["target"], cell["method"], width=cell["width"])
        assert runs[:, at.index(cell["labels"])].tolist() == cell["test"]
    for cell in sources["cells"]:
        at, runs = sweep.curve("signals", cell["method"], cell["source"])
        assert runs[:, at.index(cell["labels"])].tolist() == cell["test"]
    assert sweep.about["seeds"] == ladder["seeds"] and len(sweep.forgetting) == 13


def test_between_measured_points_it_interpolates_and_beyond_them_it_is_silent(sweep):
    five, ten = (sweep.runs("moved digits", "scratch", n) for n in (5, 10))
    between = sweep.runs("moved digits", "scratch", 50**0.5)
    assert between == pytest.approx((five + ten) / 2)
    assert np.isnan(sweep.runs("moved digits", "scratch", 101)).all()
    assert np.isnan(sweep.runs("moved digits", "LoRA", 5, "no such source")).all()


def test_a_gain_is_a_difference_of_the_same_seed(sweep):
    found = transfer.compute(sweep, "40 templates without smooth noise", 20)
    scratch = sweep.runs("signals", "scratch", 20)
    probe = sweep.runs("signals", "freeze 3", 20, "40, no smooth noise")
    assert found["gains"]["freeze 3"].tolist() == (probe - scratch).tolist()
    assert set(found["runs"]) == {"scratch", "random features", "freeze 3", "fine-tune"}
    assert found["best"] == "freeze 3"


def test_neither_scratch_nor_random_features_count_as_reuse(sweep):
    for pair in transfer.PAIRS:
        for labels in transfer.LABELS:
            assert transfer.compute(sweep, pair, labels)["best"] not in transfer.UNTAUGHT


@pytest.mark.parametrize("control", STATE)
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, control):
    explorers.assert_every_value_counts(explorers.put(explorer, STATE), control)


def test_a_move_redraws_no_axes_and_stays_in_the_picture(explorer):
    before = explorer.picture.full_draws
    for pair in transfer.PAIRS:
        for labels in (1, 100):
            explorer.controls["pair"].value = pair
            explorer.controls["labels"].value = labels
            art = explorer.picture.art
            for method in transfer.ROWS:
                gains = art["seeds", method]
                low, high = gains.axes.get_xlim()
                assert all(low < x < high for x in gains.get_xdata())
    assert explorer.picture.full_draws == before


def test_dots_are_the_gains_and_lines_the_medians(explorer, sweep):
    for name, value in STATE.items():
        explorer.controls[name].value = value
    art, found = explorer.picture.art, transfer.compute(sweep, **STATE)
    for row, method in enumerate(transfer.ROWS):
        assert art["seeds", method].get_xdata().tolist() == found["gains"][method].tolist()
        assert set(art["seeds", method].get_ydata()) == {row}
        assert art["median", method].get_xdata() == [np.median(found["gains"][method])]
    at, runs = sweep.curve("moved digits", "fine-tune")
    assert list(art["fine-tune"].get_xdata()) == at
    assert art["fine-tune"].get_ydata() == pytest.approx(np.median(runs, 0))
    assert list(art["labels"].get_xdata()) == [5, 5]


@pytest.mark.parametrize(
    ("pair", "labels", "words"),
    [
        ("letters to moved digits", 5, "5 labels a class: pretraining helps on every seed"),
        ("40 templates with shuffled labels", 100, "pretraining hurts on every seed"),
        ("2 templates to 10 others", 1, "1 label a class: pretraining helps on some seeds, not"),
    ],
)
def test_the_words_say_whether_reuse_helps(sweep, pair, labels, words):
    assert words in transfer.describe(sweep, pair, labels)


def test_the_plain_plot_names_its_methods(sweep):
    axes = transfer.plot_transfer(Figure().subplots(1, 2), sweep, **STATE)
    named = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert named == ["scratch", "random features", "linear probe", "fine-tune"]
    rows = [text.get_text() for text in axes[1].get_yticklabels()]
    assert len(rows) == 7 and "scratch" not in rows and "LoRA" in rows


def test_a_pair_that_is_not_there_is_answered_with_its_name(sweep):
    with pytest.raises(ValueError, match="pair='letters to cats'"):
        transfer.compute(sweep, "letters to cats", 5)
