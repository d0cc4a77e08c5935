"""A pipeline's timeline drawn: a row for each rank, a box for each operation."""

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from .orders import KINDS
from .timeline import Timeline

# A kind is told by its colour and by its height, so that it reads without colour.
LOOKS = {
    "F": ("#0072B2", 0.84),
    "B": ("#D55E00", 0.62),
    "I": ("#D55E00", 0.62),
    "W": ("#009E73", 0.4),
}
FEW = 500  # boxes: more of them have no white edges, which would cover them
LATER_CHUNK = 0.55  # opacity of all parts of a rank but its first


def plot_timeline(ax: Axes, timeline: Timeline, numbers: bool = True) -> Axes:
    """`ax` with the timeline, from its beginning; `numbers` writes the micro-batch into each box.

    Taught in: 09_model_parallel.
    """
    place_timeline(draw_timeline(ax), timeline)
    p, start = len(timeline.ranks), timeline.start
    for row, spans in enumerate(timeline.ranks if numbers else ()):
        for op, begin, end in spans:
            place, colour = (begin + end) / 2 - start, "black" if op.part >= p else "white"
            ax.text(place, row, op.micro, ha="center", va="center", fontsize=5, color=colour)
    ax.set(xlim=(0, timeline.total), ylim=(p - 0.4, -0.6), ylabel="rank")
    ax.set_yticks(range(p))
    return ax


def draw_timeline(ax: Axes) -> dict[str, PolyCollection]:
    """The empty boxes, by kind of operation, that `place_timeline` moves."""
    ax.grid(False)
    return {kind: ax.add_collection(PolyCollection([])) for kind in LOOKS}


def place_timeline(art: dict, timeline: Timeline) -> None:
    """Nothing: puts the boxes where a timeline has its operations; axes stay as they are."""
    p, start = len(timeline.ranks), timeline.start if timeline.ranks else 0.0
    edges = 0.4 if sum(map(len, timeline.ranks)) < FEW else 0.0
    for kind, (colour, height) in LOOKS.items():
        boxes, opacity = [], []
        for row, spans in enumerate(timeline.ranks):
            low, high = row - height / 2, row + height / 2
            for op, begin, end in spans:
                if op.kind == kind:
                    a, b = begin - start, end - start
                    boxes.append([(a, low), (b, low), (b, high), (a, high)])
                    opacity.append(LATER_CHUNK if op.part >= p else 1.0)
        art[kind].set_verts(boxes)
        art[kind].set(facecolor=[(colour, a) for a in opacity], edgecolor="white", linewidth=edges)


def key(ax: Axes, kinds: str = "FBW", **legend) -> None:
    """Nothing: adds a legend that names the `kinds` of operations; "B" and "I" look alike."""
    names = {**KINDS, "B": "backward or input gradient"} if "W" in kinds else KINDS
    patches = [Patch(facecolor=LOOKS[kind][0], label=names[kind]) for kind in kinds]
    ax.legend(handles=patches, **legend)
