"""Pipeline schedules as data: what each rank does in which order, and what that costs.

    schedule.build("1f1b", stages=4, micro_batches=8).ranks[3][:3]

A schedule can be checked, drawn, simulated and counted without a process; a `pipeline.Pipeline`
runs it.

Legend: p ranks, m micro-batches, v chunks a rank, r this rank. A *stage* is a run of layers that
follow each other; stage 0 has the first layers of the network, stage p v - 1 the last ones, and
rank r holds the stages r, r + p, r + 2 p ..., its chunks. Without chunks a rank is a stage.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from typing import NamedTuple

from .. import check
from .simulate import simulate

KINDS = {
    "F": "forward",
    "B": "backward",  # both gradients at once
    "I": "input gradient",
    "W": "weight gradient",
}
HELD = {"F": 1, "B": -1, "I": 0, "W": -1}  # an operation begins or ends this many activations


class Op(NamedTuple):
    """One piece of work: `kind` is a key of KINDS."""

    kind: str
    micro: int  # which micro-batch, from 0
    stage: int  # which layers, from 0

    def __str__(self) -> str:
        return f"{KINDS.get(self.kind, self.kind)} {self.micro} of stage {self.stage}"


@dataclass(frozen=True)
class Schedule:
    """`ranks[r]` lists the operations of rank r in order; `micro_batches` go through `n_stages`."""

    ranks: tuple[tuple[Op, ...], ...]
    micro_batches: int
    n_stages: int  # a multiple of the number of ranks

    def __post_init__(self):
        for rank, order in enumerate(self.ranks):
            times, stages = Counter(order), self.stages_of(rank)
            wanted = {
                (kind, micro, stage)
                for micro, stage in product(range(self.micro_batches), stages)
                for kind in ("FIW" if ("I", micro, stage) in times else "FB")
            }
            wrong = [op for op in {*times, *wanted} if times[op] != (op in wanted)]
            if wrong:
                op = Op(*min(wrong))
                raise ValueError(
                    f"ranks[{rank}]: {op} is there {times[op]} times. With stages {stages} a rank "
                    "must do once for each of them and each micro-batch: a forward (F), and a "
                    "backward, whole (B) or as gradients of inputs and weights (I, W)."
                )

    def rank_of(self, stage: int) -> int:
        """Which rank holds a stage."""
        return stage % len(self.ranks)

    def stages_of(self, rank: int) -> list[int]:
        """Which stages a rank holds."""
        return list(range(rank, self.n_stages, len(self.ranks)))

    @cached_property
    def peak_live(self) -> list[int]:
        """The most activations that each rank holds at once, each of one stage and micro-batch:
        from the beginning of its forward to the end of its last gradient.
        """
        return [max(accumulate(HELD[op.kind] for op in order)) for order in self.ranks]

    @property
    def messages(self) -> int:
        """How many activations and gradients travel from rank to rank in one step."""
        hops = self.n_stages - 1 if len(self.ranks) > 1 else 0
        return 2 * hops * self.micro_batches


def build(name: str, stages: int, micro_batches: int, chunks: int = 1) -> Schedule:
    """The schedule called `name` ("naive", "gpipe", "1f1b", "interleaved" or "zero_bubble") for
    `stages` ranks, each of which holds `chunks` stages of the network.

    Source: beside each order below.
    """
    _check(name, stages, micro_batches, chunks)
    orders = _ORDERS[name](stages, micro_batches, chunks)
    return Schedule(tuple(map(tuple, orders)), micro_batches, stages * chunks)


def bubble_fraction(name: str, stages: int, micro_batches: int, chunks: int = 1) -> float:
    """Idle time over *total* time, where forward, input gradient and weight gradient take one unit
    each in every stage (over all its chunks) and communication none; read off the schedule.

    Source: for the definition Qi 2023; Narayanan 2021 divides by the ideal time instead.
    """
    return simulate(build(name, stages, micro_batches, chunks)).bubble


def bubble_law(name: str, stages: int, micro_batches: int, chunks: int = 1) -> float:
    """The closed form of `bubble_fraction`.

    Source: Huang 2019 (gpipe), Narayanan 2021 (1f1b, interleaved), Qi 2023 (zero_bubble; with fewer
    micro-batches than stages our own, as no paper states it), each divided by the total time.
    """
    _check(name, stages, micro_batches, chunks)
    p, m, v = stages, micro_batches, chunks
    if name == "zero_bubble":
        return 1 - 3 * m / (3 * m + p - 1 + max(0, p - m))
    return (p - 1) / ((1 if name == "naive" else v * m) + p - 1)


def _check(name, stages, micro_batches, chunks):
    check.one_of("name", name, NAMES)
    for what, value in (("stages", stages), ("micro_batches", micro_batches), ("chunks", chunks)):
        check.integer(what, value)
    if name == "interleaved":
        remedy = "choose micro-batches in multiples of the stages"
        check.divides("stages", stages, "micro_batches", micro_batches, remedy)
    elif chunks != 1:
        check.refuse("chunks", chunks, f"1 for {name!r}", "only 'interleaved' has more")


def _naive(p, m, v):
    """One micro-batch at a time goes down and comes back up before the next one enters."""
    return [[Op(kind, j, r) for j in range(m) for kind in "FB"] for r in range(p)]


def _gpipe(p, m, v):
    """All forwards, then all backwards, the last micro-batch first.

    Source: Huang 2019 (GPipe), figure 2.
    """
    down = range(m)
    return [[Op("F", j, r) for j in down] + [Op("B", j, r) for j in down[::-1]] for r in range(p)]


def _one_f_one_b(p, m, v):
    """As many forwards as stages follow this one, then one forward and one backward in turn.

    Source: Narayanan 2019 (PipeDream); with a flush after each batch, as here, Narayanan 2021
    (Megatron-LM), figure 4, top.
    """
    return [_in_turn(p - 1 - r, r, p, m, 1) for r in range(p)]


def _interleaved(p, m, v):
    """1F1B where each rank holds `v` stages; p micro-batches pass one stage, then the rank's next.

    Source: Narayanan 2021 (Megatron-LM), figure 4, bottom.
    """
    if v == 1:
        return _one_f_one_b(p, m, v)
    return [_in_turn(2 * (p - 1 - r) + (v - 1) * p, r, p, m, v) for r in range(p)]


def _zero_bubble(p, m, v):
    """1F1B whose input gradients hurry on, while rank r puts weight gradients off by r of them.

    Source: Qi 2023 (Zero bubble pipeline parallelism), the handcrafted schedule ZB-H1.
    """
    orders = []
    for r, order in enumerate(_one_f_one_b(p, m, 1)):
        split = []
        for op in order:
            split.append(Op("I" if op.kind == "B" else "F", op.micro, r))
            if op.kind == "B" and op.micro >= r:
                split.append(Op("W", op.micro - r, r))
        split += [Op("W", j, r) for j in range(max(0, m - r), m)]
        orders.append(split)
    return orders


def _in_turn(ahead, r, p, m, v):
    """The first `ahead` forwards, then a forward and a backward in turn while there are any.

    Backwards take the same micro-batches in the same groups of p, the last chunk first.
    """
    groups = [range(first, min(first + p, m)) for first in range(0, m, p)]
    stages = range(r, r + v * p, p)
    forwards = [Op("F", j, k) for group in groups for k in stages for j in group]
    backwards = [Op("B", j, k) for group in groups for k in stages[::-1] for j in group]
    order, rest = forwards[:ahead], forwards[ahead:]
    for forward, backward in zip(rest, backwards, strict=False):
        order += [forward, backward]
    return order + backwards[len(rest) :]


_ORDERS = {
    "naive": _naive,
    "gpipe": _gpipe,
    "1f1b": _one_f_one_b,
    "interleaved": _interleaved,
    "zero_bubble": _zero_bubble,
}
NAMES = tuple(_ORDERS)
