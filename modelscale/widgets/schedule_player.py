"""The explorer of notebook 09: any pipeline schedule, simulated for any costs, beside its law."""

import ipywidgets as w

from ..course.controls import choice
from ..course.explorer import Explorer
from ..parallel.gantt import draw_timeline, key, place_timeline
from ..parallel.schedule import NAMES, bubble_law, build
from ..parallel.simulate import Costs, simulate
from ..parallel.timeline import Timeline

STAGES = (2, 4, 8)
MICRO_BATCHES = (4, 8, 16, 32)
CHUNKS = (1, 2, 4)
BACKWARDS = (1.0, 1.5, 2.0, 3.0)  # of the whole backward, in forwards; half of it a gradient
MESSAGES = (0.0, 0.1, 0.25, 0.5, 1.0)  # from rank to rank, in forwards
NOTHING = Timeline(())


def compute(
    name: str, stages: int, micro_batches: int, chunks: int, backward: float, message: float
) -> dict | None:
    """The simulated timeline, its total, bubble and law, and the most activations on each rank.

    Times in forwards of one micro-batch through one stage; activations of one micro-batch in one
    whole stage. `chunks` count for interleaved alone. None for a schedule that there is not.
    """
    v = chunks if name == "interleaved" else 1
    if name == "interleaved" and micro_batches % stages:
        return None
    schedule = build(name, stages, micro_batches, v)
    gradient = backward / 2 / v
    timeline = simulate(schedule, Costs(1 / v, gradient, gradient, message))
    return {
        "timeline": timeline,
        "total": timeline.total,
        "bubble": timeline.bubble,
        "law": bubble_law(name, stages, micro_batches, v),
        "peak": [held / v for held in timeline.peak_live],
    }


def plot_schedule(axes, **state):
    """`axes`, a pair, with the timeline on the first and the ranks' memory on the second."""
    place_schedule(draw_schedule(axes), **state)
    return axes


def draw_schedule(axes) -> dict:
    """The empty boxes and bars that `place_schedule` moves, and the axes they are in."""
    left, right = axes
    left.set(xlabel="time (forwards of a stage)", ylabel="rank")
    right.set(xlabel="activations held", yticklabels=[])
    right.grid(False, axis="y")
    key(left, loc="lower center", ncols=4, bbox_to_anchor=(0.5, 1), fontsize="x-small")
    bars = right.barh(range(max(STAGES)), [0] * max(STAGES), color="#CC79A7", height=0.7)
    no = left.text(0.5, 0.5, "", transform=left.transAxes, ha="center", va="center")
    return {"axes": tuple(axes), "boxes": draw_timeline(left), "bars": list(bars), "no": no}


def place_schedule(art: dict, name, stages, micro_batches, chunks, backward, message) -> None:
    """Nothing: moves what `draw_schedule` returned. The time axis ends where GPipe would."""
    costs = (chunks, backward, message)
    found = compute(name, stages, micro_batches, *costs)
    place_timeline(art["boxes"], found["timeline"] if found else NOTHING)
    peak = found["peak"] if found else []
    for row, bar in enumerate(art["bars"]):
        bar.set_width(peak[row] if row < len(peak) else 0)
    art["no"].set_text("" if found else _refusal(stages, micro_batches))
    longest = compute("gpipe", stages, micro_batches, *costs)["total"]
    left, right = art["axes"]
    _set(left, "xlim", (0.0, max(longest, found["total"] if found else 0)))
    _set(right, "xlim", (0.0, 1.05 * micro_batches))  # nobody holds more
    for ax in (left, right):
        _set(ax, "ylim", (stages - 0.4, -0.6))
    if len(left.get_yticks()) != stages:
        left.set_yticks(range(stages))
        right.set_yticks(range(stages), [""] * stages)


def describe(name, stages, micro_batches, chunks, backward, message) -> str:
    """The state in words: total, simulated bubble and its law, and memory."""
    found = compute(name, stages, micro_batches, chunks, backward, message)
    parts = "" if name == "interleaved" else " (of no effect here)"
    begin = (
        f"{name}, chunks {chunks}{parts}, {stages} stages, {micro_batches} micro-batches, "
        f"backward {backward:g}, message {message:g}: "
    )
    if found is None:
        return begin + _refusal(stages, micro_batches) + "."
    return begin + (
        f"a step takes {found['total']:.4g}. Bubble simulated {found['bubble']:.1%}; law (messages "
        f"free; ZB-H1: backward 2) {found['law']:.1%}. At most {max(found['peak']):.3g} "
        "activations on a rank."
    )


def schedule_player() -> Explorer:
    """Controls for the schedule, its sizes and its costs: timeline, bubble and memory."""
    return Explorer(
        lambda figure: draw_schedule(figure.subplots(1, 2, width_ratios=(4, 1))),
        place_schedule,
        describe,
        figsize=(6.8, 3.2),
        name=w.ToggleButtons(
            options=NAMES,
            value="interleaved",
            description="schedule",
            style={"button_width": "auto"},
        ),
        stages=choice("stages", STAGES, 4),
        micro_batches=choice("micro-batches", MICRO_BATCHES, 8),
        chunks=choice("chunks", CHUNKS, 2),
        backward=choice("backward", BACKWARDS, 2.0, unit="forwards", format="{:g}".format),
        message=choice("message", MESSAGES, 0.0, unit="forwards", format="{:g}".format),
    )


def _refusal(stages, micro_batches):
    return f"{micro_batches} micro-batches do not make whole groups of {stages}"


def _set(ax, what, limits):
    """Limits are set only where they change: that draws the whole figure again."""
    if getattr(ax, f"get_{what}")() != limits:
        ax.set(**{what: limits})
