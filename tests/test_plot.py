"""Figures have the look of the course, say where their numbers come from, and numbers fit in words.

Colours stand out on white and are doubled by marker and line; bands hold their seeds; numbers on
a heat map are readable on every cell.
"""

import itertools

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from matplotlib.figure import Figure

from modelscale import dial, plot


@pytest.fixture
def ax():
    """Axes in the style of the course."""
    with matplotlib.style.context(plot.STYLE):
        yield Figure().subplots()


def contrast(a, b):
    """The contrast of two colours by WCAG 2, from 1 to 21."""
    dark, light = sorted(luminance(matplotlib.colors.to_rgb(c)) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_each_colour_stands_out_and_is_doubled():
    """At least 3:1 on white (WCAG 2 for graphics), with a marker and a line style of its own."""
    with matplotlib.style.context(plot.STYLE):
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()
    assert all(contrast(colour, "white") >= 3 for colour in cycle["color"])
    for name in ("color", "marker", "linestyle"):
        assert len(set(cycle[name])) == len(cycle["color"]) == 5


def test_the_style_has_a_steady_size_and_an_opaque_ground():
    """A figure saved in it is 600 x 450 pixels."""
    with matplotlib.rc_context():
        dial._use_style()
        style = matplotlib.rcParams
        assert style["savefig.bbox"] is None
        assert not style["savefig.transparent"]
        assert style["figure.facecolor"] == style["axes.facecolor"] == "white"
        assert tuple(Figure().get_size_inches() * Figure().dpi) == (600, 450)


def test_a_band_is_the_median_between_lowest_and_highest_seed(ax):
    runs = np.array([[1.0, 5.0], [2.0, 9.0], [6.0, 7.0]])
    line = plot.band(ax, [10, 20], runs, "loss")
    assert line.get_ydata().tolist() == [2, 7]
    assert line.get_label() == "loss"
    corners = {tuple(v) for v in ax.collections[0].get_paths()[0].vertices}
    assert {(10, 1), (10, 6), (20, 5), (20, 9)} <= corners


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (np.ones((2, 3)), "seeds=2: it must be a whole number of at least 3"),
        (np.ones((3, 2)), r"\(3, 2\): it must be \(seeds, 3\)"),
        (np.ones(3), r"\(3,\): it must be \(seeds, 3\)"),
    ],
)
def test_a_band_wants_three_seeds_and_matching_points(ax, runs, words):
    with pytest.raises(ValueError, match=words):
        plot.band(ax, [1, 2, 3], runs, "loss")
    with pytest.raises(ValueError, match=r"\(2, 3\): it must be \(3, 2\)"):
        plot.heat(ax, np.ones((2, 3)), ["a", "b"], ["c", "d", "e"])
    with pytest.raises(ValueError, match="kind='guessed': it must be one of 'measured'"):
        plot.annotate_kind(ax, "guessed")


def test_long_lines_have_few_markers_and_single_points_have_theirs(ax):
    """A share of the axes would drop the marker of a lone point."""
    assert plot.band(ax, range(100), np.ones((3, 100)), "long").get_markevery() == 0.1
    assert plot.band(ax, [1], np.ones((3, 1)), "point").get_markevery() is None


def test_a_heat_map_has_readable_numbers_in_its_cells(ax):
    """At least 4.5:1 (WCAG 2 for text); a cell whose value is unknown stays empty."""
    values = np.linspace(0, 1, 12).reshape(3, 4)
    values[2, 3] = np.nan
    image = plot.heat(ax, values, list("abcd"), [1, 2, 4], number=lambda x: f"{100 * x:.0f} %")
    assert [t.get_text() for t in ax.get_xticklabels()] == list("abcd")
    assert (image.get_array() == values)[:2].all()
    assert [t.get_text() for t in ax.texts[:3]] == ["0 %", "9 %", "18 %"]
    assert ax.texts[4].get_position() == (0, 1) and len(ax.texts) == 11  # second row
    cells = image.to_rgba(values).reshape(-1, 4)[:, :3]
    pairs = zip(ax.texts, cells, strict=False)
    assert all(contrast(text.get_color(), cell) >= 4.5 for text, cell in pairs)


def test_a_guess_is_drawn_where_there_is_one(ax):
    before = len(ax.lines)
    plot.band(ax, [1, 2], np.ones((3, 2)), "loss", guess=(2, None))
    plot.annotate_kind(ax, "measured", guess=None)
    assert len(ax.lines) == before + 1
    plot.band(ax, [1, 2], np.ones((3, 2)), "loss", guess=(2, 0.5))
    words = plot.annotate_kind(ax, "measured", guess=7.0, along="x").get_text()
    assert ax.lines[-2].get_xydata().tolist() == [[2, 0.5]] and "your guess" in words
    assert list(ax.lines[-1].get_xdata()) == [7, 7]


@pytest.mark.parametrize(
    ("seeds", "words"), [(3, "measured, 3 seeds"), (1, "measured, 1 seed"), (None, "measured")]
)
def test_a_figure_says_where_its_numbers_come_from(ax, seeds, words):
    assert plot.annotate_kind(ax, "measured", seeds).get_text() == words
    assert ax.get_title(loc="right") == words


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (1_234_567, "1.23 M"),
        (999_999, "1 M"),  # rounded before the prefix is chosen
        (999, "999"),
        (1000, "1 k"),
        (70e9, "70 G"),
        (-50_000, "-50 k"),
        (0.00123, "1.23 m"),
        (0, "0"),
        (float("inf"), "inf"),
    ],
)
def test_si(x, text):
    assert plot.si(x) == text


@pytest.mark.parametrize(
    ("x_s", "text"),
    [
        (0.00129, "1.3 ms"),
        (0.123, "120 ms"),
        (1e-7, "100 ns"),
        (0, "0 s"),
        (42, "42 s"),
        (90, "1.5 min"),
        (7200, "2.0 h"),
        (86_400 * 30, "30 days"),
        (float("inf"), "inf s"),
    ],
)
def test_seconds(x_s, text):
    assert plot.seconds(x_s) == text


def test_prefixes_rise_by_thousands():
    """Every power of ten is one number, and no two look alike."""
    written = [plot.si(10.0**power) for power in range(-9, 20)]
    assert all(a != b for a, b in itertools.combinations(written, 2))
    assert all(text.split()[0] in ("1", "10", "100") for text in written)
