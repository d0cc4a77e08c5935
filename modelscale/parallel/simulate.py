"""When each piece of a pipeline's work would happen, for any costs.

Nothing is run, and no torch is loaded: an order of work and a table of costs are enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

from .. import check
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


def simulate(schedule, costs: Costs | None = None) -> Timeline:
    """The timeline of a `schedule.Schedule` whose ranks begin each operation as soon as they can:
    when the rank is free and the results that the operation needs have arrived.

    Raises: ValueError for an order in which ranks would wait for ever, and says for what.
    Taught in: 09_model_parallel.
    """
    run = _Run(schedule, costs or Costs())
    ready = list(range(len(schedule.ranks)))
    while ready:
        ready += run.advance(ready.pop())
    if run.waiting:
        raise ValueError(
            f"schedule: ranks would wait for ever: {run.story()}. "
            "Put each operation after those it needs."
        )
    return Timeline(tuple(map(tuple, run.spans)))


class _Run:
    """The state of a simulation.

    `outputs[part + 1][micro]` is when that part's output was made, `gradients[part][micro]` when
    the gradient of its input was; inputs of the network and gradients of the loss are always there.
    """

    def __init__(self, schedule, costs):
        parts, micro = schedule.parts, schedule.micro_batches
        self.order, self.spans = schedule.ranks, [[] for _ in schedule.ranks]
        self.cost = costs.by_kind(parts)
        self.holder = [schedule.rank_of(part) for part in range(parts)]
        crossing = [a != b for a, b in pairwise(self.holder)]
        self.delay = [0, *(costs.communication * c for c in crossing), 0]  # into part k from k - 1
        self.outputs = [[0] * micro] + [[None] * micro for _ in range(parts)]
        self.gradients = [[None] * micro for _ in range(parts)] + [[0] * micro]
        self.waiting = {}  # rank -> the operation it cannot begin yet

    def advance(self, rank):
        """The ranks that can go on, after `rank` has done all it can."""
        order, spans, freed = self.order[rank], self.spans[rank], []
        now = spans[-1].end if spans else 0
        self.waiting.pop(rank, None)
        for op in order[len(spans) :]:
            kind, micro, part = op
            there = self.there(kind, micro, part)
            if there is None:
                self.waiting[rank] = op
                break
            start = there if there > now else now
            now = start + self.cost[kind][part]
            spans.append(Span(op, start, now))
            if kind == "F":
                self.outputs[part + 1][micro] = now
                freed += self.woken("F", micro, part + 1)
            elif kind != "W":
                self.gradients[part][micro] = now
                freed += self.woken("BI", micro, part - 1)
        return freed

    def there(self, kind, micro, part):
        """When all that an operation needs is there; None if that is not known yet."""
        if kind == "F":
            made = self.outputs[part][micro]
            return None if made is None else made + self.delay[part]
        if kind == "W":
            return self.gradients[part][micro]
        made = self.gradients[part + 1][micro]
        if made is None or self.outputs[part + 1][micro] is None:
            return None
        return made + self.delay[part + 1]

    def woken(self, kinds, micro, part):
        """The rank of `part`, in a list, if it waits for that micro-batch there."""
        if not 0 <= part < len(self.holder):
            return []
        op = self.waiting.get(self.holder[part])
        waits = op is not None and op.micro == micro and op.part == part and op.kind in kinds
        return [self.holder[part]] if waits else []

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
