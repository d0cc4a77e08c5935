"""Proves that the explorer of notebook 04 shows its closed form: every control moves picture and
words, the words say what the curve does, and the marks stand where the errors are.
"""

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
from modelscale.laws.ridge import power_law_world, risk
from modelscale.widgets import overfitting

PLACE = {"capacity": 100, "n": 200, "noise": 0.2, "ridge": 0.1}


@pytest.fixture
def explorer():
    """The explorer, at a place where every control counts."""
    return explorers.put(overfitting.overfitting_explorer(), PLACE)


@pytest.mark.parametrize("name", PLACE)
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, name):
    explorers.assert_every_value_counts(explorer, name)


def test_a_move_redraws_no_axes(explorer):
    explorers.assert_no_move_redraws_axes(explorer)


def test_lines_and_marks_are_the_errors(explorer):
    art, found = explorer.picture.art, risk(power_law_world(0.2), 200, overfitting.CAPACITIES, 0.1)
    at = overfitting.CAPACITIES.index(100)
    assert art["test"].get_ydata() == pytest.approx(np.minimum(found.test, 2 * overfitting.TOP))
    assert art["train"].get_ydata() == pytest.approx(found.train)
    assert art["point"].get_data() == ([100], [pytest.approx(found.test[at])])
    assert art["fitted"].get_data() == ([100], [pytest.approx(found.train[at])])
    assert list(art["noise"].get_ydata()) == [0.2, 0.2] and list(art["n"].get_xdata()) == [200, 200]


def test_an_infinite_error_stays_in_the_picture(explorer):
    for name, value in {"capacity": 200, "ridge": 0.0}.items():
        explorer.controls[name].value = value
    ((y,),) = [explorer.picture.art["point"].get_ydata()]
    assert 0 < y < overfitting.TOP
    assert "test error without bound" in explorer.text and "at the peak" in explorer.text


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((3, 100, 0.2, 0.0), "underfitted, and a larger model would be better"),
        ((60, 100, 0.2, 0.0), "overfitted, and a larger model would be worse"),
        ((110, 100, 0.2, 0.0), "at the peak, and a larger model would be better"),
        ((280, 100, 0.2, 0.0), "beyond the peak, and a larger model would be better"),
        ((60, 100, 0.2, 100.0), "a larger model would change little"),
        ((1000, 100, 0.2, 0.0), "the largest model of this world"),
    ],
)
def test_the_words_say_where_on_the_curve_it_stands(place, words):
    assert words in overfitting.describe(*place)


def test_what_the_notebook_asks_to_find_is_there():
    """More data hurt near the peak; noise makes the first valley the deeper; a ridge flattens."""
    here = [overfitting.compute(100, n, 0.2, 0.0)["here"][0] for n in (50, 100)]
    assert here[1] > here[0]
    best = [overfitting.compute(100, 100, noise, 0.0)["best"] for noise in overfitting.NOISES]
    assert min(best[:-1]) > 100 > best[-1]
    calm = overfitting.compute(100, 100, 0.2, 10.0)["test"][overfitting.CAPACITIES.index(40) :]
    assert calm.max() < 1.1 * calm.min()


def test_the_plain_plot_has_both_curves_and_their_names():
    ax = overfitting.plot_errors(Figure().subplots(), **PLACE)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["test", "training", "noise of a label", "features = samples"]
    assert "error" in ax.get_ylabel() and "capacity" in ax.get_xlabel()


def test_every_sample_size_is_a_capacity_so_that_the_peak_can_be_met():
    assert set(overfitting.SAMPLES) <= set(overfitting.CAPACITIES)
    assert sorted(set(overfitting.CAPACITIES)) == list(overfitting.CAPACITIES)


def test_a_capacity_outside_the_list_is_answered_with_its_name():
    with pytest.raises(ValueError, match="capacity=11"):
        overfitting.compute(11, 100, 0.2, 0.0)


def test_where_the_error_only_falls_nothing_is_at_a_peak():
    words = overfitting.describe(50, 50, 0.0, 1.0)  # a strong ridge: it falls to 120 features
    assert "peak" not in words and "underfitted" in words
