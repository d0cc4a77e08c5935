"""One training step of a pipeline on real ranks, in the order that a schedule says.

Activations travel down and gradients up as messages between neighbours, each with a tag of its own,
so that no order of sending has to be agreed on. (gloo knows tags; nccl does not.) A rank asks for
the message of its next operation before it begins the one at hand, so that it travels meanwhile.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from .deferred import defer_weights, finish
from .saved import SavedTensors
from .schedule import Schedule
from .simulate import Costs
from .timeline import Span


@dataclass(frozen=True)
class Step:
    """What one rank has to tell of a step."""

    loss: float  # mean over micro-batches on the rank of the last part, 0 elsewhere
    spans: tuple[Span, ...]  # what it did, in seconds of the clock that ranks of a machine share
    peak_bytes: int  # the most that it kept at once for backward passes


class Pipeline:
    """This rank's share of a network: `parts` are those it holds, the first of them first.

    `hidden` is the shape of what travels from part to part. `at_least` are costs in seconds: an
    operation that takes less sleeps for the rest, as if a slower device had done it.
    Weight gradients are put off where the schedule says so, so the linear maps of `parts` change.

    Raises: ValueError for parts or ranks that do not match the schedule.
    Taught in: 09_model_parallel.
    """

    def __init__(
        self,
        schedule: Schedule,
        parts: Sequence[nn.Module],
        hidden: Sequence[int],
        loss: Callable,
        group: dist.ProcessGroup | None = None,
        at_least: Costs | None = None,
    ):
        self.schedule, self.loss, self.group = schedule, loss, group
        self.rank, self.hidden = dist.get_rank(group), tuple(hidden)
        self.parts = _numbered(parts, schedule, self.rank, dist.get_world_size(group))
        self._order = schedule.ranks[self.rank]
        self._at_least_s = (at_least or Costs(0, 0, 0)).by_kind(schedule.parts)

    def step(self, inputs: Sequence, targets: Sequence) -> Step:
        """What came of one step over micro-batches; gradients of their mean loss are added to
        those of the parameters. `inputs` are read by the rank of part 0, `targets` by that of the
        last part, one each a micro-batch.

        Raises: ValueError for another number of micro-batches than the schedule has.
        """
        for name, values in (("inputs", inputs), ("targets", targets)):
            _as_many(name, len(values), self.schedule.micro_batches, "micro-batch")
        with contextlib.ExitStack() as stack:
            left = {k: [] for k in self.parts}
            if any(op.kind == "W" for op in self._order):
                left = {k: stack.enter_context(defer_weights(p)) for k, p in self.parts.items()}
            return _Running(self, inputs, targets, left).all()


class _Running:
    """One step under way."""

    def __init__(self, pipeline, inputs, targets, left):
        self.line, self.schedule, self.left = pipeline, pipeline.schedule, left
        self.inputs, self.targets = inputs, targets
        self.graphs, self.work, self.loss = {}, {}, 0.0
        self.sent, self.own = [], {}  # messages under way to other ranks, and to this one
        weights = (p for part in pipeline.parts.values() for p in part.parameters())
        self.like = next(weights, torch.empty(0))  # the format of messages
        self.kept = SavedTensors(p for part in pipeline.parts.values() for p in part.parameters())

    def all(self):
        """What came of it."""
        do = {"F": self.forward, "B": self.backward, "I": self.input_grad, "W": self.weight_grad}
        spans = []
        with self.kept:
            order = self.line._order
            asked = self.ask(order[0])
            for op, following in zip(order, [*order[1:], None], strict=True):
                arrived = self.take(op, asked)
                asked = following and self.ask(following)
                start = time.perf_counter()
                made = do[op.kind](op, arrived)
                end = start + self.line._at_least_s[op.kind][op.part]
                time.sleep(max(0, end - time.perf_counter()))
                spans.append(Span(op, start, time.perf_counter()))
                self.send(op, made)
        for message, _ in self.sent:
            message.wait()
        return Step(self.loss, tuple(spans), self.kept.peak_bytes)

    def forward(self, op, x):
        if op.part:
            x.requires_grad_()
        out = self.line.parts[op.part](x)
        if op.part == self.schedule.parts - 1:
            out = self.line.loss(out, self.targets[op.micro]) / self.schedule.micro_batches
            self.loss += out.item()
        self.graphs[op.micro, op.part] = x, out
        return out.detach()

    def backward(self, op, gradient):
        made, left = self.propagate(op, gradient), self.left[op.part]
        finish(left)  # of linear maps that put their weights' gradients off for another operation
        left.clear()
        return made

    def propagate(self, op, gradient):
        x, out = self.graphs.pop((op.micro, op.part))
        if out.requires_grad:  # else the first part is frozen
            torch.autograd.backward(out, gradient)
        return x.grad

    def input_grad(self, op, gradient):
        made, left = self.propagate(op, gradient), self.left[op.part]
        keep = self.kept.watch
        self.work[op.micro, op.part] = [(linear, keep(x), keep(g)) for linear, x, g in left]
        left.clear()
        return made

    def weight_grad(self, op, _):
        finish(self.work.pop((op.micro, op.part)))

    def source(self, op):
        """The part whose result an operation needs; None where it needs no other part's."""
        if op.kind == "W":
            return None
        source = op.part - 1 if op.kind == "F" else op.part + 1
        return source if 0 <= source < self.schedule.parts else None

    def ask(self, op):
        """(tensor, its arrival) of the message that an operation needs; None where none comes."""
        source = self.source(op)
        if source is None or self.schedule.rank_of(source) == self.line.rank:
            return None
        message = self.like.new_empty(self.line.hidden)
        rank, tag = self.schedule.rank_of(source), self.tag(op.kind, op.micro, op.part)
        return message, dist.irecv(message, group=self.line.group, group_src=rank, tag=tag)

    def take(self, op, asked):
        """What an operation needs: a micro-batch, an activation, a gradient or nothing."""
        if asked is not None:
            message, arrival = asked
            arrival.wait()
            return message
        if op.kind == "F" and op.part == 0:
            return self.inputs[op.micro]
        own = self.source(op) is not None
        return self.own.pop(self.tag(op.kind, op.micro, op.part)) if own else None

    def send(self, op, made):
        """Nothing: what an operation has made is on its way to the part that needs it."""
        to = op.part + 1 if op.kind == "F" else op.part - 1
        if op.kind == "W" or not 0 <= to < self.schedule.parts:
            return
        rank, tag = self.schedule.rank_of(to), self.tag(op.kind, op.micro, to)
        if rank == self.line.rank:
            self.own[tag] = made
            return
        if made.shape != self.line.hidden or made.dtype != self.like.dtype:
            raise ValueError(
                f"part {op.part} made {made.dtype} of shape {tuple(made.shape)}: messages must be "
                f"{self.like.dtype} of shape hidden={self.line.hidden}. Give every micro-batch as "
                "many samples, and make each part return the format of its weights."
            )
        made = made.contiguous()
        message = dist.isend(made, group=self.line.group, group_dst=rank, tag=tag)
        self.sent.append((message, made))

    def tag(self, kind, micro, part):
        """A number for a message to `part`, the same on both of its ends."""
        return 2 * (micro * self.schedule.parts + part) + (kind == "F")


def _numbered(parts, schedule, rank, ranks):
    """The parts of a rank by their number."""
    _as_many("group", ranks, len(schedule.ranks), "rank of the schedule")
    numbers = range(rank, schedule.parts, ranks)
    _as_many("parts", len(parts), len(numbers), f"part of rank {rank}, that is {list(numbers)}")
    return dict(zip(numbers, parts, strict=True))


def _as_many(name, got, wanted, what):
    if got != wanted:
        raise ValueError(
            f"{name} has {got} members: it must have {wanted}, one for each {what}. "
            "Build the schedule for as many."
        )
