"""Proves that the explorer of notebook 09 shows the simulated schedule: boxes are its spans, every
control moves picture and words, and the words give bubble, law and memory.
"""

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
from modelscale.parallel import gantt
from modelscale.parallel.schedule import NAMES, bubble_fraction, build
from modelscale.parallel.simulate import Costs, simulate
from modelscale.parallel.timeline import Span, Timeline
from modelscale.widgets import schedule_player

PLACE = {"stages": 4, "micro_batches": 8, "chunks": 2, "backward": 2.0, "message": 0.1}


@pytest.fixture
def explorer():
    """The explorer, at a place where every control counts."""
    return explorers.put(schedule_player.schedule_player(), PLACE)


@pytest.mark.parametrize("name", PLACE)
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, name):
    explorers.assert_every_value_counts(explorer, name)


def test_every_schedule_has_its_own_words_and_picture(explorer):
    seen = set()
    for name in NAMES:
        explorer.controls["name"].value = name
        assert explorer.error.value == "" and explorer.text.startswith(name)
        seen |= {explorer.picture.png, explorer.text}
    assert len(seen) == 2 * len(NAMES)


def test_the_boxes_are_the_spans(explorer):
    made = build("interleaved", 4, 8, 2)
    spans = simulate(made, Costs(0.5, 0.5, 0.5, 0.1)).ranks
    boxes = explorer.picture.art["boxes"]
    for kind in "FBIW":
        wanted = [
            (row, s.start, s.end) for row, r in enumerate(spans) for s in r if s.op.kind == kind
        ]
        corners = np.array([path.vertices for path in boxes[kind].get_paths()]).reshape(-1, 5, 2)
        found = [(c[:, 1].mean(), c[:, 0].min(), c[:, 0].max()) for c in corners[:, :4]]
        assert np.allclose(found, wanted), kind
        assert len(boxes[kind].get_facecolor()) == len(wanted)
    shades = boxes["F"].get_facecolor()[:, 3]
    assert sorted(set(shades)) == [gantt.LATER_CHUNK, 1.0]


def test_the_bars_are_whole_activations_and_unused_ranks_have_none(explorer):
    widths = [bar.get_width() for bar in explorer.picture.art["bars"]]
    assert widths == [held / 2 for held in build("interleaved", 4, 8, 2).peak_live] + [0] * 4


def test_words_give_bubble_law_and_memory(explorer):
    found = schedule_player.compute("interleaved", **PLACE)
    law = bubble_fraction("interleaved", 4, 8, 2)
    assert found["bubble"] > law + 0.02 and found["law"] == pytest.approx(law)
    for words in (f"simulated {found['bubble']:.1%}", f"{law:.1%}", "At most 5.5 activations"):
        assert words in explorer.text
    explorer.controls["message"].value = 0.0
    assert explorer.text.count(f"{law:.1%}") == 2


def test_a_schedule_that_there_is_not_is_told_in_picture_and_words(explorer):
    explorer.controls["micro_batches"].value = 4
    explorer.controls["stages"].value = 8
    assert explorer.error.value == ""
    assert "4 micro-batches do not make whole groups of 8" in explorer.text
    assert explorer.picture.art["no"].get_text() + "." == explorer.text.split(": ")[1]
    assert not explorer.picture.art["boxes"]["F"].get_paths()
    assert not any(bar.get_width() for bar in explorer.picture.art["bars"])


def test_all_schedules_share_the_time_axis_of_gpipe_unless_they_take_longer(explorer):
    left, right = explorer.picture.art["axes"]
    gpipe = schedule_player.compute("gpipe", **PLACE)["total"]
    for name in NAMES:
        explorer.controls["name"].value = name
        total = schedule_player.compute(name, **PLACE)["total"]
        assert left.get_xlim() == (0, max(gpipe, total)) and right.get_xlim()[1] >= 8
    assert total < gpipe < schedule_player.compute("naive", **PLACE)["total"]


@pytest.mark.parametrize("stages", schedule_player.STAGES)
def test_there_is_a_row_for_each_stage(explorer, stages):
    explorer.controls["stages"].value = stages
    for ax in explorer.picture.art["axes"]:
        assert list(ax.get_yticks()) == list(range(stages))
        assert ax.get_ylim() == (stages - 0.4, -0.6)


def test_a_move_that_changes_no_limits_redraws_no_axes(explorer):
    explorer.controls["message"].value = 0.0  # then none takes longer than GPipe
    before = explorer.picture.full_draws
    explorer.controls["chunks"].value = 1
    assert explorer.picture.full_draws == before


def test_chunks_are_told_to_be_of_no_effect_where_they_are(explorer):
    assert "of no effect" not in explorer.text
    explorer.controls["name"].value = "1f1b"
    assert "chunks 2 (of no effect here)" in explorer.text


def test_what_the_notebook_asks_to_find_is_there():
    """1F1B saves memory, not bubble; messages turn interleaving into a loss; a cheaper backward
    leaves 1F1B's bubble as it is."""
    at = dict(PLACE, message=0.0)
    gpipe, one = (schedule_player.compute(name, **at) for name in ("gpipe", "1f1b"))
    assert one["bubble"] == gpipe["bubble"] and max(one["peak"]) < max(gpipe["peak"])
    far = dict(PLACE, message=1.0, chunks=4)
    assert (
        schedule_player.compute("interleaved", **far)["total"]
        > schedule_player.compute("1f1b", **far)["total"]
    )
    cheap = schedule_player.compute("1f1b", **dict(at, backward=1.0))
    assert cheap["bubble"] == pytest.approx(one["bubble"])


def test_the_plain_plots_have_names_and_numbers():
    left, right = schedule_player.plot_schedule(Figure().subplots(1, 2), name="1f1b", **PLACE)
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["forward", "backward or input gradient", "weight gradient"]
    assert "time" in left.get_xlabel() and "activations" in right.get_xlabel()
    ax = gantt.plot_timeline(Figure().subplots(), simulate(build("1f1b", 2, 3)))
    assert "".join(text.get_text() for text in ax.texts) == "010212" + "001122"
    assert ax.get_xlim() == (0, 12) and list(ax.get_yticks()) == [0, 1]


def test_a_timeline_is_drawn_from_its_beginning_later_chunks_paler_with_black_numbers():
    spans = simulate(build("interleaved", 2, 2, 2)).ranks
    later = Timeline(tuple(tuple(Span(op, a + 5, b + 5) for op, a, b in own) for own in spans))
    ax = gantt.plot_timeline(Figure().subplots(), later)
    forward = ax.collections[0]
    flat = [span for own in spans for span in own]
    first = [path.vertices[:, 0].min() for path in forward.get_paths()]
    assert first == [start for op, start, _ in flat if op.kind == "F"]
    shades = forward.get_facecolor()[:, 3].tolist()
    assert shades == [gantt.LATER_CHUNK if op.part >= 2 else 1 for op, *_ in flat if op.kind == "F"]
    for text, (op, start, end) in zip(ax.texts, flat, strict=True):
        assert text.get_position()[0] == (start + end) / 2
        assert text.get_color() == ("black" if op.part >= 2 else "white")


@pytest.mark.parametrize(("micro_batches", "edge"), [(8, 0.4), (200, 0)])
def test_many_boxes_have_no_edges(micro_batches, edge):
    ax = gantt.plot_timeline(
        Figure().subplots(), simulate(build("gpipe", 2, micro_batches)), numbers=False
    )
    assert ax.collections[0].get_linewidth().tolist() == [edge] and not ax.texts


def test_an_unknown_schedule_is_answered_with_its_name():
    with pytest.raises(ValueError, match="name='dual'"):
        schedule_player.compute("dual", **PLACE)
