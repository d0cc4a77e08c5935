"""When each piece of a pipeline's work would happen, for any costs.

Nothing is run, and no torch is loaded: an order of work and a table of costs are enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

from .. import check
from .collection import no_collection
from .orders import KINDS
from .timeline import Span, Timeline


@dataclass(frozen=True)
class Costs:
    """What one micro-batch costs in one part: a number, or one for each part, in any unit of time.

    A backward that is not split costs `input_grad + weight_grad`.
    """

    forward: float | Sequence[float] = 1.0
    input_grad: float | Sequence[float] = 1.0
    weight_grad: float | Sequence[float] = 1.0
    communication: float = 0.0  # from the end of an operation until its result is on another rank

    def by_kind(self, parts: int) -> dict[str, list[float]]:
        """The cost of each kind of operation in each part: `{"F": [...], "B": [...], ...}`.

        Raises: ValueError for a cost below 0, or a list that has not one for each part.
        """
        check.number("communication", self.communication, above=False)
        forward = _each("forward", self.forward, parts)
        inputs = _each("input_grad", self.input_grad, parts)
        weights = _each("weight_grad", self.weight_grad, parts)
        both = [a + b for a, b in zip(inputs, weights, strict=True)]
        return {"F": forward, "B": both, "I": inputs, "W": weights}


@no_collection()
def simulate(schedule, costs: Costs | None = None) -> Timeline:
    """The timeline of a `schedule.Schedule` whose ranks begin each operation as soon as they can:
    when the rank is free and the results that the operation needs have arrived.

    Raises: ValueError for an order in which ranks would wait for ever, and says for what.
    Taught in: 09_model_parallel.
    """
    run = _Run(schedule, costs or Costs())
    run.finish()
    if run.waiting:
        raise ValueError(
            f"schedule: ranks would wait for ever: {run.story()}. "
            "Put each operation after those it needs."
        )
    return Timeline(tuple(map(tuple, run.spans)))


class _Flow(NamedTuple):
    """What operations of one kind on one part need and make. Rows have an entry for each
    micro-batch: a time, or None while it is not known.
    """

    own: list  # row of what the rank itself must have made before
    arrives: list  # row of when the input is there
    cost: float
    result: list  # row of when the result is there
    late: float  # how long the result travels
    to: int | None  # the rank that needs it


class _Run:
    """The state of a simulation.

    Edge k leads from part k - 1 to part k; edge 0 brings the inputs of the network, the last edge
    the gradients of the loss. Activations come over edge k at the times in the row `down[k]`,
    gradients at those in `up[k]`.
    """

    def __init__(self, schedule, costs):
        parts, micro = schedule.parts, schedule.micro_batches
        self.order, self.spans = schedule.ranks, [[] for _ in schedule.ranks]
        self.down = [[0] * micro] + [[None] * micro for _ in range(parts)]
        self.up = [[None] * micro for _ in range(parts)] + [[0] * micro]
        self.flows = self.all_flows(schedule, costs)
        self.ready = list(range(len(schedule.ranks)))  # ranks that have not begun, or may go on
        self.waiting = {}  # rank -> the operation that it cannot begin yet

    def all_flows(self, schedule, costs):
        """A `_Flow` for each kind of operation and each part: `flows[kind][part]`."""
        cost, parts = costs.by_kind(schedule.parts), range(schedule.parts)
        holder = [schedule.rank_of(part) for part in parts]
        after, before = [*holder[1:], None], [None, *holder[:-1]]
        late = [0, *(costs.communication * (a != b) for a, b in pairwise(holder)), 0]  # by edge
        down, up = self.down, self.up
        there, nowhere = [0] * schedule.micro_batches, [None] * schedule.micro_batches

        def flow(kind, k):
            if kind == "F":
                return _Flow(there, down[k], cost[kind][k], down[k + 1], late[k + 1], after[k])
            if kind == "W":
                return _Flow(up[k], there, cost[kind][k], nowhere, 0, None)
            return _Flow(down[k + 1], up[k + 1], cost[kind][k], up[k], late[k], before[k])

        return {kind: [flow(kind, k) for k in parts] for kind in KINDS}

    def finish(self):
        """Nothing: lets ranks work until all are done or wait for each other."""
        ranks = [self.work(rank) for rank in self.ready]
        while self.ready:
            next(ranks[self.ready.pop()], None)

    def work(self, rank):
        """One rank at work: a generator that stops at an operation which cannot begin yet."""
        flows, waiting, add, now = self.flows, self.waiting, self.spans[rank].append, 0
        for op in self.order[rank]:
            kind, micro, part = op
            own, arrives, cost, result, late, to = flows[kind][part]
            while own[micro] is None or arrives[micro] is None:
                waiting[rank] = op
                yield
            there = arrives[micro]
            start = there if there > now else now
            now = start + cost
            add(Span(op, start, now))
            result[micro] = now + late
            if to in waiting:
                del waiting[to]
                self.ready.append(to)

    def story(self):
        return "; ".join(
            f"rank {rank} cannot begin {KINDS[kind]} {micro} of part {part}"
            for rank, (kind, micro, part) in sorted(self.waiting.items())
        )


def _each(name, value, parts):
    values = [value] * parts if isinstance(value, Real) else list(value)
    if len(values) != parts:
        raise ValueError(
            f"{name} has {len(values)} costs: it must have {parts}, one for each part. "
            "Give one number where all parts cost the same."
        )
    return [check.number(name, v, above=False) for v in values]
