"""Proves that the explorer of notebook 06 shows its stored sweep: every control moves picture and
words, the lines are the stored curves, and the verdict in words follows from the seeds.
"""

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
import sweeps
from modelscale.widgets import growing

STORED = sweeps.path("growing_steps")


@pytest.fixture(scope="module")
def sweep():
    """The stored sweep."""
    return growing.Sweep(STORED)


@pytest.fixture
def place(sweep):
    """A state in which every control counts."""
    return {"start": 16, "kind": "unequal copies", "budget": sweep.budgets[1]}


@pytest.fixture
def explorer(sweep, place):
    """The explorer, at that state."""
    return explorers.put(growing.growing_explorer(sweep), place)


@pytest.mark.parametrize("name", ["start", "kind", "budget"])
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, name):
    explorers.assert_every_value_counts(explorer, name)


def test_from_scratch_the_ways_to_grow_differ_in_words_alone(explorer, sweep):
    explorer.controls["start"].value = sweep.end
    texts = []
    for kind in growing.KINDS:
        explorer.controls["kind"].value = kind
        texts.append(explorer.text)
        art = explorer.picture.art[0]
        grown, scratch = (art[name].get_xydata() for name in ("grown", "from scratch"))
        assert np.array_equal(grown, scratch) and not len(art["grown_at"].get_xdata())
    assert len(set(texts)) == len(growing.KINDS)


def test_a_move_redraws_no_axes(explorer):
    explorers.assert_no_move_redraws_axes(explorer)


def test_lines_and_points_are_what_was_stored(explorer, place):
    runs = sweeps.read("growing_steps")["runs"]
    mine = [
        r
        for r in runs
        if (r["start"], r["kind"], r["budget_flops"])
        == (place["start"], place["kind"], place["budget"])
    ]
    art, (points, frame) = explorer.picture.art
    x, y = art["grown"].get_data()
    assert x == pytest.approx(100 * np.array(mine[0]["flops"]) / place["budget"])
    assert y == pytest.approx(np.median([r["loss"] for r in mine], 0))
    grown_at = 100 * np.array(mine[0]["grown_at_flops"]) / place["budget"]
    assert art["grown_at"].get_xdata()[::3] == pytest.approx(grown_at)
    assert len(grown_at) == 2
    ends = [r["loss"][-1] for r in mine]
    at = np.array(points.get_xdata()) == 1
    assert sorted(np.array(points.get_ydata())[at]) == pytest.approx(sorted(ends))
    assert frame.get_data() == ([1], [pytest.approx(np.median(ends))])


def test_the_words_follow_from_the_seeds(sweep):
    seen = set()
    for budget in sweep.budgets:
        for start in sweep.starts[:-1]:
            for kind in growing.KINDS:
                mine = sweep.curve(budget, start, kind)[1][:, -1]
                gain = sweep.curve(budget, sweep.end, kind)[1][:, -1] - mine
                words = growing.describe(sweep, start, kind, budget)
                wins = int((gain > 0).sum())
                told = {5: "wins on every seed", 0: "loses on every seed"}.get(wins, "some seeds")
                assert told in words and f"{np.median(mine):.2f}" in words
                seen.add(told)
    assert len(seen) > 1  # the sweep is worth exploring


def test_nothing_leaves_the_picture(sweep):
    for budget in sweep.budgets:
        for start in sweep.starts:
            for kind in growing.KINDS:
                flops, losses = sweep.curve(budget, start, kind)
                assert losses.min() > 0.3 and losses.max() < growing.TOP
                assert flops[0] > 0 and flops[-1] < 1.02 * budget


def test_the_plain_plot_has_both_curves_and_their_names(sweep, place):
    ax = growing.plot_growth(Figure().subplots(), sweep, **place)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["from scratch", "grown"]
    assert "loss" in ax.get_ylabel() and "FLOPs" in ax.get_xlabel()


def test_a_way_that_is_not_there_is_answered_with_its_name(sweep):
    with pytest.raises(ValueError, match="kind='by luck'"):
        growing.compute(sweep, 16, "by luck", sweep.budgets[0])
