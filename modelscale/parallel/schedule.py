"""Pipeline schedules as data: what each rank does in which order, and what that costs.

    schedule.build("1f1b", stages=4, micro_batches=8).ranks[3][:3]

A schedule can be checked, drawn, simulated and counted without a process; a `pipeline.Pipeline`
runs it.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from .. import check
from . import orders
from .collection import no_collection
from .orders import KINDS, Op
from .simulate import simulate

ORDERS = {
    "naive": orders.naive,
    "gpipe": orders.gpipe,
    "1f1b": orders.one_f_one_b,
    "interleaved": orders.interleaved,
    "zero_bubble": orders.zero_bubble,
}
NAMES = tuple(ORDERS)


@dataclass(frozen=True)
class Schedule:
    """`ranks[r]` lists the operations of rank r in order; `micro_batches` go through `parts`.

    Raises: ValueError unless each rank does everything for each of its parts and micro-batches
    once: a forward, and a backward, whole or as gradients of inputs and weights.
    """

    ranks: tuple[tuple[Op, ...], ...]
    micro_batches: int
    parts: int  # a multiple of the number of ranks

    def __post_init__(self):
        for rank, order in enumerate(self.ranks):
            done, parts = set(order), range(rank, self.parts, len(self.ranks))
            wanted = {
                (kind, micro, part)
                for part in parts
                for micro in range(self.micro_batches)
                for kind in ("FIW" if ("I", micro, part) in done else "FB")
            }
            if done != wanted or len(order) > len(done):
                self._refuse(rank, order, done ^ wanted)

    def _refuse(self, rank, order, wrong):
        times = Counter(order)
        kind, micro, part = op = min(wrong) if wrong else times.most_common(1)[0][0]
        own = list(range(rank, self.parts, len(self.ranks)))
        raise ValueError(
            f"ranks[{rank}]: {KINDS.get(kind, kind)} {micro} of part {part} is there {times[op]} "
            f"times. With parts {own} a rank must do once for each of them and each micro-batch: a "
            "forward (F), and a backward, whole (B) or as gradients of inputs and weights (I, W)."
        )

    def rank_of(self, part: int) -> int:
        """Which rank holds a part."""
        return part % len(self.ranks)

    @cached_property
    def peak_live(self) -> list[int]:
        """The most activations that each rank holds at once, each of one part and micro-batch."""
        return simulate(self).peak_live

    @property
    def messages(self) -> int:
        """How many activations and gradients travel from rank to rank in one step."""
        hops = sum(self.rank_of(p) != self.rank_of(p + 1) for p in range(self.parts - 1))
        return 2 * hops * self.micro_batches


@no_collection()
def build(name: str, stages: int, micro_batches: int, chunks: int = 1) -> Schedule:
    """The schedule called `name` ("naive", "gpipe", "1f1b", "interleaved" or "zero_bubble") for
    `stages` ranks, each of which holds `chunks` parts of the network.

    Raises: ValueError for another name; for `chunks` other than 1 outside interleaved; for
    interleaved micro-batches that `stages` does not divide.
    Source: beside each order in `orders`.
    Taught in: 09_model_parallel.
    """
    _checked(name, stages, micro_batches, chunks)
    ranks = ORDERS[name](stages, micro_batches, chunks)
    return Schedule(tuple(map(tuple, ranks)), micro_batches, stages * chunks)


def bubble_fraction(name: str, stages: int, micro_batches: int, chunks: int = 1) -> float:
    """Idle time over *total* time, where forward, input gradient and weight gradient take one unit
    each in every stage (over all its chunks) and communication none; read off the schedule.

    Raises: ValueError as `build`.
    Source: for the definition Qi 2023; Narayanan 2021 divides by the ideal time instead.
    Taught in: 09_model_parallel.
    """
    return simulate(build(name, stages, micro_batches, chunks)).bubble


def bubble_law(name: str, stages: int, micro_batches: int, chunks: int = 1) -> float:
    """The closed form of `bubble_fraction`.

    Raises: ValueError as `build`.
    Source: Huang 2019 (gpipe), Narayanan 2021 (1f1b, interleaved), Qi 2023 (zero_bubble; with fewer
    micro-batches than stages our own, as no paper states it), each divided by the total time.
    Taught in: 09_model_parallel.
    """
    _checked(name, stages, micro_batches, chunks)
    p, m, v = stages, micro_batches, chunks
    if name == "naive":
        return (p - 1) / p
    if name == "interleaved":
        return (p - 1) / (v * m + p - 1)
    if name == "zero_bubble":
        total = 3 * m + p - 1 + max(0, p - m)
        return 1 - 3 * m / total
    return (p - 1) / (m + p - 1)


def _checked(name, stages, micro_batches, chunks):
    check.one_of("name", name, NAMES)
    for what, value in (("stages", stages), ("micro_batches", micro_batches), ("chunks", chunks)):
        check.integer(what, value)
    if name == "interleaved":
        remedy = "choose micro-batches in multiples of the stages"
        check.divides("stages", stages, "micro_batches", micro_batches, remedy)
    elif chunks != 1:
        raise ValueError(
            f"chunks={chunks!r}: it must be 1 for {name!r}. Only 'interleaved' gives a rank more "
            "than one part of the network."
        )
