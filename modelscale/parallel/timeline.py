"""What the ranks of a pipeline did and when, simulated or measured: total, bubble, memory."""

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from .orders import Op

HELD = {"F": 1, "B": -1, "I": 0, "W": -1}  # an operation begins or ends this many activations


class Span(NamedTuple):
    """An operation, and when it began and ended."""

    op: Op
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The spans of every rank, in the order of its work: `ranks[r][k]`, in any unit of time."""

    ranks: tuple[tuple[Span, ...], ...]

    @property
    def start(self) -> float:
        """When the first rank began."""
        return min(spans[0].start for spans in self.ranks)

    @property
    def total(self) -> float:
        """From the first beginning to the last end, over all ranks."""
        return max(spans[-1].end for spans in self.ranks) - self.start

    @property
    def busy(self) -> list[float]:
        """How long each rank worked."""
        return [sum(end - start for _, start, end in spans) for spans in self.ranks]

    @property
    def bubble(self) -> float:
        """Idle time over total time, all ranks together (the ideal time would be `busy`)."""
        return 1 - sum(self.busy) / (len(self.ranks) * self.total) if self.total else 0.0

    def scaled(self, factor: float) -> "Timeline":
        """The same timeline in another unit: `factor` of the new ones make one of the old."""
        return Timeline(
            tuple(tuple(Span(op, factor * a, factor * b) for op, a, b in own) for own in self.ranks)
        )

    def live(self, rank: int) -> list[tuple[float, int]]:
        """(time, activations held from then on) of a rank: it holds one for each part and
        micro-batch from the beginning of its forward to the end of its last gradient.
        """
        held, steps = 0, []
        for (kind, _, _), start, end in self.ranks[rank]:
            if HELD[kind]:
                held += HELD[kind]
                steps.append((start if kind == "F" else end, held))
        return steps

    @property
    def peak_live(self) -> list[int]:
        """The most activations that each rank holds at once, each of one part and micro-batch."""
        return [max(accumulate(HELD[op.kind] for op, _, _ in spans)) for spans in self.ranks]
