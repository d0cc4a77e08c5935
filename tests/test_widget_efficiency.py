"""Proves that the explorer of notebook 07 shows its sweep: every control moves picture and words,
what remains is below both limits, the best is the best of it, and seconds measured here replace
those that are stored.
"""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
import sweeps
from modelscale.widgets import efficiency

STORED = sweeps.path("efficiency")
PLACE = {"batch": 16, "ms": 1, "mb": 0.2}


@pytest.fixture(scope="module")
def sweep():
    """The stored sweep, with seconds of our own: as many as a variant has FLOPs, in a fixed way."""
    plain = efficiency.Sweep(STORED)
    flops = dict(zip(plain.variants, plain.cost("flops"), strict=True))
    passes = {
        batch: {name: np.full(9, 2e-5 + batch * f * 2e-11) for name, f in flops.items()}
        for batch in (1, 16, 256)
    }
    return efficiency.Sweep(STORED, passes)


@pytest.fixture
def explorer(sweep):
    """The explorer, at a place where every control counts."""
    return explorers.put(efficiency.efficiency_explorer(sweep), PLACE)


@pytest.mark.parametrize("name", PLACE)
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, name):
    explorers.assert_every_value_counts(explorer, name)


def test_a_move_redraws_no_axes(explorer):
    explorers.assert_no_move_redraws_axes(explorer)


@pytest.mark.parametrize("ms", [0.02, 0.1, 1, 50])
@pytest.mark.parametrize("mb", [0.005, 0.1, 5])
def test_what_remains_is_below_both_limits_and_the_best_is_the_best_of_it(sweep, ms, mb):
    found = efficiency.compute(sweep, 256, ms, mb)
    middle = np.median(sweep.accuracy, 1)
    inside = [
        i
        for i in range(len(sweep.variants))
        if sweep.cost("seconds", 256)[i] <= ms / 1e3 and sweep.cost("bytes")[i] <= mb * 1e6
    ]
    assert list(np.flatnonzero(found["remains"])) == inside
    if not inside:
        assert found["best"] is None and found["level"] == []
        assert "nothing remains" in efficiency.describe(sweep, 256, ms, mb)
        return
    assert found["best"] in inside and middle[found["best"]] == max(middle[inside])
    for i in inside:
        reached = (sweep.accuracy[i] >= sweep.accuracy[found["best"]]).any()
        assert (i in found["level"]) == (reached and i != found["best"])
    assert sweep.variants[found["best"]] in efficiency.describe(sweep, 256, ms, mb)


def test_looser_limits_lose_nothing(sweep):
    kept = [efficiency.compute(sweep, 16, ms, 0.2)["remains"] for ms in efficiency.LIMITS_MS]
    assert all((tight <= loose).all() for tight, loose in pairwise(kept))


def test_marks_stand_where_the_sweep_has_them(explorer, sweep):
    art, found = explorer.picture.art, efficiency.compute(sweep, 16, 1, 0.2)
    full = sum(len(art["bytes"][family].get_xdata()) for family in efficiency.FAMILIES)
    out = sum(len(art["bytes"][family, "out"].get_xdata()) for family in efficiency.FAMILIES)
    assert full == found["remains"].sum() > 0 and full + out == len(sweep.variants)
    ((x,), (y,)) = art["best"][1].get_data()
    assert x == pytest.approx(sweep.cost("bytes")[found["best"]] / 1e6)
    assert y == np.median(sweep.accuracy[found["best"]])
    assert list(art["limits"][0].get_xdata()) == [1, 1]
    (segment,) = (s for s in art["seconds"]["bars"].get_segments()[:1])
    assert list(segment[:, 1]) == [sweep.accuracy[0].min(), sweep.accuracy[0].max()]


def test_stored_seconds_stand_where_none_were_measured():
    plain = efficiency.Sweep(STORED)
    row = next(r for r in plain.stored["passes"] if r["batch"] == 256)
    found = plain.seconds(256)[plain.variants.index(row["name"])]
    assert list(found) == [row["fast"], row["median"], row["slow"]]
    assert (plain.cost("seconds", 256) <= plain.seconds(256)[:, 1]).all()
    assert plain.machine == plain.stored["clock"]["machine"]


def test_the_frontier_holds_what_nobody_beats():
    cost, value = [1, 2, 2, 3, 4, 4], [0.5, 0.7, 0.7, 0.6, 0.9, 0.8]
    assert list(efficiency.frontier(cost, value)) == [True, True, True, False, True, False]


@pytest.mark.parametrize("kind", efficiency.COSTS)
def test_the_plain_plot_has_every_variant_inside_its_axes(sweep, kind):
    ax = efficiency.plot_costs(Figure().subplots(), sweep, kind)
    (low, high), seen = ax.get_xlim(), 0
    for line in ax.lines[: 2 * len(efficiency.FAMILIES)]:
        x = np.asarray(line.get_xdata())
        assert ((x > low) & (x < high)).all()
        seen += len(x)
    assert seen == len(sweep.variants)
    assert ax.get_xlabel() == efficiency.COSTS[kind][0] and "accuracy" in ax.get_ylabel()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.cost("watts"), "^kind='watts'.*'bytes'"),
        (lambda s: s.seconds(3), "^batch=3.*1, 16, 256"),
        (lambda s: efficiency.compute(s, 16, 0, 1), "^ms=0"),
        (lambda s: efficiency.compute(s, 16, 1, -1), "^mb=-1"),
        (
            lambda s: efficiency.Sweep(STORED, {1: {}}),
            r"^passes\[1\] has no seconds of 'alone 16'",
        ),
    ],
)
def test_mistakes_are_answered(sweep, call, message):
    with pytest.raises(ValueError, match=message):
        call(sweep)
