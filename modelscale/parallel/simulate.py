"""When each piece of a pipeline's work happens: simulated for any costs, or measured.

Nothing is run, and no torch is loaded: an order of work and a table of costs are enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

from .. import check


@dataclass(frozen=True)
class Costs:
    """What a micro-batch costs in a stage: a number, or one for each stage, in any unit of time.

    A backward that is not split costs `input_grad + weight_grad`.
    """

    forward: float | Sequence[float] = 1.0
    input_grad: float | Sequence[float] = 1.0
    weight_grad: float | Sequence[float] = 1.0
    communication: float = 0.0  # from the end of an operation until its result is on another rank

    def by_kind(self, n_stages: int) -> dict[str, list[float]]:
        """The cost of each kind of operation in each stage: `{"F": [...], "B": [...], ...}`."""
        check.number("communication", self.communication, above=False)
        costs = []
        for name in ("forward", "input_grad", "weight_grad"):
            value = getattr(self, name)
            values = [value] * n_stages if isinstance(value, Real) else list(value)
            if len(values) != n_stages:
                remedy = "give one number where all stages cost the same"
                check.refuse(f"length of {name}", len(values), f"{n_stages}, of the stages", remedy)
            costs.append([check.number(name, v, above=False) for v in values])
        forward, inputs, weights = costs
        both = [a + b for a, b in zip(inputs, weights, strict=True)]
        return {"F": forward, "B": both, "I": inputs, "W": weights}


class Span(NamedTuple):
    """An operation, a `schedule.Op`, and when it began and ended."""

    op: NamedTuple
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


def simulate(schedule, costs: Costs | None = None) -> Timeline:
    """The timeline of a `schedule.Schedule` whose ranks begin each operation as soon as they can:
    when the rank is free and the results that the operation needs have arrived.
    """
    costs, n_stages = costs or Costs(), schedule.n_stages
    cost = costs.by_kind(n_stages)
    holder = {stage: schedule.rank_of(stage) for stage in range(n_stages)}
    made = {}  # when each result was there: of a forward "F", of a gradient of inputs "G"
    for micro in range(schedule.micro_batches):  # what comes from outside is there at once
        made["F", micro, -1] = made["G", micro, n_stages] = 0
    spans = [[] for _ in schedule.ranks]
    waiting = {}  # the rank that cannot go on without a result
    able = list(range(len(spans)))  # ranks that have not begun, or may go on
    while able:
        rank = able.pop()
        order, own = schedule.ranks[rank], spans[rank]
        now = own[-1].end if own else 0
        while len(own) < len(order):
            kind, micro, stage = op = order[len(own)]
            need = _need(kind, micro, stage)
            if need not in made or (kind in "BI" and ("F", micro, stage) not in made):
                waiting[need] = rank
                break
            late = costs.communication if holder.get(need[2], rank) != rank else 0
            start = max(now, made[need] + late)
            now = start + cost[kind][stage]
            own.append(Span(op, start, now))
            if kind != "W":
                made[result := ("F" if kind == "F" else "G", micro, stage)] = now
                if result in waiting:
                    able.append(waiting.pop(result))
    _refuse_waiting(schedule, spans)
    return Timeline(tuple(map(tuple, spans)))


def _need(kind, micro, stage):
    """The result that an operation waits for; a backward needs its own forward besides."""
    if kind == "F":
        return "F", micro, stage - 1
    return "G", micro, stage if kind == "W" else stage + 1


def _refuse_waiting(schedule, spans):
    told = [
        f"rank {rank} cannot begin {order[len(own)]}"
        for rank, (order, own) in enumerate(zip(schedule.ranks, spans, strict=True))
        if len(own) < len(order)
    ]
    if told:
        raise ValueError(
            f"schedule: ranks would wait for ever: {'; '.join(told)}. "
            "Put each operation after those it needs."
        )
