"""The explorer of scaling laws tells the truth: optima, what a wrong law costs, every control."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
from modelscale import laws
from modelscale.widgets import scaling_laws

HOFFMANN, BESIROGLU = "Hoffmann 2022", "Besiroglu 2024"
LAWS = {HOFFMANN: laws.HOFFMANN_2022, BESIROGLU: laws.BESIROGLU_2024}
EVEN = laws.LossSurface(E=1, A=1, B=1, alpha=0.5, beta=0.5)  # N = D = (C / 6)^.5
SMALL = laws.LossSurface(E=1, A=1, B=16, alpha=0.5, beta=0.5)  # N = D / 16^2


@pytest.fixture
def explorer():
    return scaling_laws.laws_explorer(LAWS)


def test_the_cost_of_a_wrong_law_can_be_worked_out_by_hand():
    """With equal exponents of 1/2, the loss above E falls as C^-1/4 at the best size."""
    found = scaling_laws.compute({"even": EVEN, "small": SMALL}, "small", "even", 6e8)
    N, D = 1e4 / 16, 1e4 * 16  # N D = 1e8 and D = 256 N
    assert (found["N"], found["D"]) == pytest.approx((N, D))
    assert found["tokens_per_parameter"] == pytest.approx(256)
    assert found["hoped"] == pytest.approx(1 + N**-0.5 + 16 * D**-0.5)
    assert found["had"] == pytest.approx(1 + N**-0.5 + D**-0.5)
    assert found["best"] == pytest.approx(1 + 2 * 1e4**-0.5)
    worth = ((found["had"] - 1) / (found["best"] - 1)) ** -4
    assert found["wasted"] == pytest.approx(1 - worth, rel=1e-6)


@pytest.mark.parametrize("C", scaling_laws.BUDGETS)
@pytest.mark.parametrize(("believed", "true"), list(itertools.permutations(LAWS)))
def test_a_wrong_law_costs_something_and_the_right_one_nothing(C, believed, true):
    wrong = scaling_laws.compute(LAWS, believed, true, C)
    right = scaling_laws.compute(LAWS, true, true, C)
    assert wrong["best"] == right["best"] == right["had"] < wrong["had"]
    assert right["wasted"] == 0 < wrong["wasted"] < 0.5
    enough = C * (1 - wrong["wasted"])
    assert scaling_laws.best_loss(LAWS[true], enough) == pytest.approx(wrong["had"], abs=1e-9)


def test_the_two_published_laws_agree_among_their_budgets_and_part_far_beyond():
    """Hoffmann 2022, figure 3: its budgets end at 3e21 FLOPs. 1e26 is far beyond them."""
    costs = [scaling_laws.compute(LAWS, HOFFMANN, BESIROGLU, C)["wasted"] for C in (1e19, 1e26)]
    assert costs[0] < 0.1 < 0.3 < costs[1]


@pytest.mark.parametrize("C", [1e17, 1e22, 1e26])
def test_the_curves_are_the_losses_of_one_budget_and_touch_zero_at_the_best_size(C):
    ax = scaling_laws.plot_isoflop(Figure().subplots(), LAWS, C, HOFFMANN, BESIROGLU)
    lines = ax.get_lines()
    curves, points = (lines[0], lines[2]), (lines[1], lines[3])
    for law, curve, point in zip(LAWS.values(), curves, points, strict=True):
        N, above = curve.get_data()
        best_N, best_D = law.optimal(C)
        assert above == pytest.approx(law.loss(N, C / (6 * N)) - law.loss(best_N, best_D))
        assert above.min() >= 0 and point.get_data() == ([best_N], [0])
        assert N[0] < best_N < N[-1]
    (drop, chosen), found = lines[4:], scaling_laws.compute(LAWS, HOFFMANN, BESIROGLU, C)
    assert chosen.get_data()[0] == [found["N"]] == drop.get_data()[0][:1]
    assert chosen.get_data()[1] == pytest.approx([found["had"] - found["best"]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(LAWS)
    low, high = ax.get_ylim()
    assert low < 0 and max(curve.get_ydata().max() for curve in curves) < high


def test_without_a_belief_only_curves_and_best_sizes_are_drawn():
    lines = scaling_laws.plot_isoflop(Figure().subplots(), LAWS, 1e20).get_lines()
    assert [len(line.get_xdata()) for line in lines] == [201, 1, 201, 1, 0, 0]


@pytest.mark.parametrize("control", ["believed", "true", "C"])
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, control):
    explorers.put(explorer, {"believed": HOFFMANN, "true": HOFFMANN})
    explorers.assert_every_value_counts(explorer, control)


def test_the_picture_follows_the_budget(explorer):
    explorer.controls["C"].value = 1e25
    curves, points, chosen, _ = explorer.picture.art
    for law, point in zip(LAWS.values(), points, strict=True):
        assert point.get_data() == ([law.optimal(1e25)[0]], [0])
        assert point.axes.get_xlim()[0] < point.get_xdata()[0] < point.axes.get_xlim()[1]
    assert chosen.get_xdata() == [laws.HOFFMANN_2022.optimal(1e25)[0]]
    assert len(curves) == 2


def test_the_words_say_the_numbers(explorer):
    explorer.controls["C"].value = 1e24
    found = scaling_laws.compute(LAWS, HOFFMANN, BESIROGLU, 1e24)
    for words in ("41.3 G parameters", "4.04 T tokens", f"{100 * found['wasted']:.2g} %"):
        assert words in explorer.text
    explorer.controls["true"].value = HOFFMANN
    assert "nothing is better" in explorer.text and "wasted" not in explorer.text


def test_a_law_fitted_in_the_notebook_joins_the_published_ones():
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e4, 1e6, 5), np.geomspace(1e5, 1e7, 5)))
    fit = laws.fit_loss_surface(N, D, laws.HOFFMANN_2022.loss(N, D))
    explorer = scaling_laws.laws_explorer({**LAWS, "ours": fit}, budgets=(1e10, 1e12, 1e14))
    explorer.controls["believed"].value = "ours"
    assert explorer.error.value == "" and "ours says" in explorer.text
    explorer.controls["true"].value = HOFFMANN  # the law it was fitted to
    assert explorer.text.endswith("or less than 0.1 % of the compute wasted.")


def test_a_law_or_a_budget_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"believed='Kaplan'.*Hoffmann 2022"):
        scaling_laws.compute(LAWS, "Kaplan", HOFFMANN, 1e20)
    with pytest.raises(ValueError, match="C=0"):
        scaling_laws.compute(LAWS, HOFFMANN, HOFFMANN, 0)
    with pytest.raises(ValueError, match="A="):
        scaling_laws.laws_explorer({"flat": laws.LossSurface(1, math.nan, 1, 1, 1)})
