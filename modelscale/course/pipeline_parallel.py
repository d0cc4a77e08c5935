"""The explorer and checkers of 14_pipeline_parallel, its drawn timelines, its lab's three teams."""

from itertools import zip_longest

import ipywidgets as w
import torch.distributed as dist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from ..parallel.pipeline import Stage
from ..parallel.schedule import KINDS, NAMES, bubble_law, build
from ..parallel.simulate import Costs, Timeline, simulate
from . import Explorer, choice, exercise, letter

# A kind is told by its colour and by its height, so that it reads without colour.
LOOKS = {
    "F": ("#0072B2", 0.84),
    "B": ("#D55E00", 0.62),
    "I": ("#D55E00", 0.62),
    "W": ("#009E73", 0.4),
}
NAMED = {**KINDS, "B": "backward or input gradient"}  # in a legend: the two look alike
FEW = 500  # boxes: more of them have no white edges, which would cover them
LATER_CHUNK = 0.55  # opacity of all stages of a rank but its first


def plot_timeline(ax: Axes, timeline: Timeline, unit: float = 1.0) -> None:
    """Draw a row for each rank and a box for each operation, with its micro-batch, from the
    timeline's beginning; a time of `unit` is 1 on the axis.
    """
    _place(_boxes(ax), timeline, unit)
    p, start = len(timeline.ranks), timeline.start
    for row, spans in enumerate(timeline.ranks):
        for op, begin, end in spans:
            middle, colour = (begin + end) / 2 - start, "black" if op.stage >= p else "white"
            ax.text(middle / unit, row, op.micro, ha="center", va="center", size=5, color=colour)
    ax.set(xlim=(0, timeline.total / unit), ylim=(p - 0.4, -0.6), ylabel="rank")
    ax.set_yticks(range(p))


def key(ax: Axes, **legend) -> None:
    """Add a legend that names the kinds of operations."""
    patches = [Patch(facecolor=LOOKS[kind][0], label=NAMED[kind]) for kind in "FBW"]
    ax.legend(handles=patches, fontsize="x-small", **legend)


def _boxes(ax):
    """The boxes of all operations, none as yet."""
    ax.grid(False)
    return ax.add_collection(PolyCollection([], edgecolor="white"))


def _place(boxes, timeline, unit=1.0):
    """Put the boxes where a timeline has its operations; axes stay as they are."""
    corners, faces = [], []
    p, start = len(timeline.ranks), timeline.start if timeline.ranks else 0.0
    for row, spans in enumerate(timeline.ranks):
        for op, begin, end in spans:
            colour, height = LOOKS[op.kind]
            a, b = (begin - start) / unit, (end - start) / unit
            low, high = row - height / 2, row + height / 2
            corners.append([(a, low), (b, low), (b, high), (a, high)])
            faces.append((colour, LATER_CHUNK if op.stage >= p else 1.0))
    boxes.set_verts(corners)
    boxes.set(facecolor=faces, linewidth=0.4 if len(corners) < FEW else 0.0)


STAGES = (2, 4, 8)
BACKWARDS = (1.0, 1.5, 2.0, 3.0)  # of the whole backward, in forwards; half of it a gradient
MESSAGES = (0.0, 0.1, 0.25, 0.5, 1.0)  # from rank to rank, in forwards


def schedule_player() -> Explorer:
    """Controls for the schedule, its sizes and its costs: timeline, bubble and memory."""
    plain = "{:g}".format
    named = {"options": NAMES, "value": "interleaved", "description": "schedule"}
    return Explorer(
        _setup,
        _update,
        _describe,
        figsize=(6.8, 3.2),
        name=w.ToggleButtons(style={"button_width": "auto"}, **named),
        stages=choice("stages", STAGES, 4),
        micro_batches=choice("micro-batches", (4, 8, 16, 32), 8),
        chunks=choice("chunks", (1, 2, 4), 2),
        backward=choice("backward", BACKWARDS, 2.0, unit="forwards", format=plain),
        message=choice("message", MESSAGES, 0.0, unit="forwards", format=plain),
    )


def _setup(figure):
    left, right = figure.subplots(1, 2, width_ratios=(4, 1))
    left.set(xlabel="time (forwards of a stage)", ylabel="rank")
    right.set(xlabel="activations held")
    right.grid(False, axis="y")
    key(left, loc="lower center", ncols=4, bbox_to_anchor=(0.5, 1))
    bars = right.barh(range(max(STAGES)), [0] * max(STAGES), color="#CC79A7", height=0.7)
    no = left.text(0.5, 0.5, "", transform=left.transAxes, ha="center", va="center")
    return {"axes": (left, right), "boxes": _boxes(left), "bars": list(bars), "no": no}


def _update(art, name, stages, micro_batches, **costs):
    """Move boxes and bars. The time axis ends where GPipe would, or later."""
    timeline, peak = _simulated(name, stages, micro_batches, **costs)
    gpipe, _ = _simulated("gpipe", stages, micro_batches, **costs)
    _place(art["boxes"], timeline)
    for bar, held in zip_longest(art["bars"], peak, fillvalue=0):
        bar.set_width(held)
    art["no"].set_text("" if peak else _refusal(stages, micro_batches))
    ends = (
        max(gpipe.total, timeline.total if peak else 0),
        1.05 * micro_batches,
    )  # nobody holds more
    for ax, end, labels in zip(art["axes"], ends, (range(stages), [""] * stages), strict=True):
        limits = (0.0, end), (stages - 0.4, -0.6)
        if (ax.get_xlim(), ax.get_ylim()) != limits:  # that draws the whole figure again
            ax.set(xlim=limits[0], ylim=limits[1])
            ax.set_yticks(range(stages), labels)


def _describe(name, stages, micro_batches, chunks, backward, message):
    timeline, peak = _simulated(name, stages, micro_batches, chunks, backward, message)
    effect = "" if name == "interleaved" else " (of no effect here)"
    begin = (
        f"{name}, chunks {chunks}{effect}, {stages} stages, {micro_batches} micro-batches, "
        f"backward {backward:g}, message {message:g}: "
    )
    if not peak:
        return begin + _refusal(stages, micro_batches) + "."
    law = bubble_law(name, stages, micro_batches, _chunks(name, chunks))
    return begin + (
        f"a step takes {timeline.total:.4g}. Bubble simulated {timeline.bubble:.1%}; law (messages "
        f"free; ZB-H1: backward 2) {law:.1%}. At most {max(peak):.3g} activations on a rank."
    )


def _simulated(name, stages, micro_batches, chunks, backward, message):
    """(timeline, whole activations held by each rank); both empty where there is no schedule."""
    if name == "interleaved" and micro_batches % stages:
        return Timeline(()), []
    v = _chunks(name, chunks)
    made, gradient = build(name, stages, micro_batches, v), backward / 2 / v
    timeline = simulate(made, Costs(1 / v, gradient, gradient, message))
    return timeline, [n / v for n in made.peak_live]


def _chunks(name, chunks):
    return chunks if name == "interleaved" else 1


def _refusal(stages, micro_batches):
    return f"{micro_batches} micro-batches do not make whole groups of {stages}"


class _Newest(dict):
    def pop(self, micro):
        return self.popitem()[1]


def as_team_wrote(team: str, obey, gpt, order, micro_batches: int):
    """(gradients, layers) of this rank in the pipeline of team "a", "b" or "c", each with a fault.

    `obey(order, stage, held, scale)` takes a step; `gpt` has eight layers for four ranks.
    """
    edges, rank = (0, 1, 2, 3, 8) if team == "c" else (0, 2, 4, 6, 8), dist.get_rank()
    stage = Stage(gpt, edges[rank], edges[rank + 1])
    held = _Newest() if team == "b" else {}
    scale = 1.0 if team == "a" else 1 / micro_batches
    return obey(order, stage, held, scale), len(stage.blocks)


check_stack = letter(
    "a wrong factor changes every gradient's length and no direction; an uneven cut changes no "
    "gradient; a rank that holds one micro-batch at a time cannot mix any up.",
    right="b",
    wrong={
        "a": "all its gradients have the right direction and are too long by one factor.",
        "c": "its gradients are those of one process; it is its clock that suffers.",
    },
)
check_one_f_one_b = exercise(
    "first a forward for each rank that follows, p - 1 - r of them (or all m, if those are fewer); "
    "then a forward and a backward in turn, while there are forwards; then the backwards left.",
    name="one_f_one_b",
    cases=[(r, p, m) for p, m in ((4, 8), (2, 3), (4, 2), (1, 3)) for r in range(p)],
    reference=lambda r, p, m: [(op.kind, op.micro) for op in build("1f1b", p, m).ranks[r]],
)
check_held_bytes = exercise(
    "GPipe's ranks hold all micro-batches; under 1F1B rank r runs ahead by the ranks that follow "
    "it and holds one more, but never more than there are.",
    name="held_bytes",
    cases=[
        (name, r, p, m, 1000)
        for name in ("gpipe", "1f1b")
        for r, p, m in ((0, 4, 8), (3, 4, 8), (1, 8, 4), (2, 8, 32))
    ],
    reference=lambda name, r, p, m, n_bytes: n_bytes * build(name, p, m).peak_live[r],
)
check_layers_of = exercise(
    "there are p * v stages of n_layer / (p * v) layers each; stage k lies on rank k % p, so rank "
    "r holds the stages r, r + p, r + 2 p and so on.",
    name="layers_of",
    cases=[(0, 2, 2, 8), (1, 4, 2, 16), (3, 4, 3, 12), (1, 2, 1, 4)],
    reference=lambda r, p, v, n: [i for i in range(n) if i // (n // (p * v)) % p == r],
)
