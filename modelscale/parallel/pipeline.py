"""A network cut into stages, and one training step of it on real ranks, in a schedule's order.

Activations travel down and gradients up as messages between neighbours, each with a tag of its own,
so that no order of sending has to be agreed on. (gloo knows tags; nccl does not.) A rank asks for
the message of its next operation before it begins the one at hand, so that it travels meanwhile.

A backward pass may come in two halves. The stage before waits for the gradient of the input alone;
a linear map needs only its input x and the gradient g of its output for the gradient of its
weights, which is the product of both, whenever there is time.

Legend: B batch, T tokens, C channels (`d_model`), V vocabulary.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from .. import check
from ..models import GPT
from .saved import SavedTensors
from .schedule import Schedule
from .simulate import Costs, Span


class Stage(GPT):
    """The blocks `first` to `end - 1` of a GPT; the first stage also embeds the tokens, the last
    one norms and gives logits. Parameters are the network's own, under their names there.

    Shapes: (B, T) or (B, T, C) -> (B, T, C) or (B, T, V)
    """

    def __init__(self, gpt: GPT, first: int, end: int):
        nn.Module.__init__(self)
        self.shape, self.recompute = gpt.shape, gpt.recompute
        self.embed = nn.Identity() if first else gpt.embed
        self.position = None if first else gpt.position
        self.blocks = nn.ModuleList()
        for i in range(first, end):
            self.blocks.add_module(str(i), gpt.blocks[i])
        ends = end == len(gpt.blocks)
        self.norm, self.head = (gpt.norm, gpt.head) if ends else (nn.Identity(), nn.Identity())
        self.register_buffer("rotary", gpt.rotary, persistent=False)


def into_stages(gpt: GPT, n_stages: int) -> list[Stage]:
    """The network in stages of equally many blocks."""
    n_layer = len(gpt.blocks)
    check.integer("n_stages", n_stages)
    check.divides("n_stages", n_stages, "n_layer", n_layer, "every stage gets as many blocks")
    if n_stages > 1 and gpt.shape.tied:
        remedy = "the first and the last stage would share a weight"
        check.refuse("tied", True, "False in a pipeline", remedy)
    size = n_layer // n_stages
    return [Stage(gpt, i * size, (i + 1) * size) for i in range(n_stages)]


@dataclass(frozen=True)
class Report:
    """What one rank has to tell of a step."""

    loss: float  # mean over micro-batches on the rank of the last stage, 0 elsewhere
    spans: tuple[Span, ...]  # what it did, in seconds of the clock that ranks of a machine share
    peak_bytes: int  # the most that it kept at once for backward passes


class Pipeline:
    """This rank's share of a network: `stages` are those it holds, the first of them first.

    `hidden` is the shape of what travels from stage to stage. `at_least` are costs in seconds: an
    operation that takes less sleeps for the rest, as if a slower device had done it.
    """

    def __init__(
        self,
        schedule: Schedule,
        stages: Sequence[nn.Module],
        hidden: Sequence[int],
        loss: Callable,
        group: dist.ProcessGroup | None = None,
        at_least: Costs | None = None,
    ):
        self.schedule, self.loss, self.group = schedule, loss, group
        self.rank, self.hidden = dist.get_rank(group), tuple(hidden)
        _as_many("group", dist.get_world_size(group), len(schedule.ranks), "rank of the schedule")
        numbers = schedule.stages_of(self.rank)
        _as_many("stages", len(stages), len(numbers), f"stage of rank {self.rank}")
        self.stages = dict(zip(numbers, stages, strict=True))
        self.at_least_s = (at_least or Costs(0, 0, 0)).by_kind(schedule.n_stages)

    def step(self, inputs: Sequence, targets: Sequence) -> Report:
        """What came of one step over micro-batches; gradients of their mean loss are added to
        those of the parameters. `inputs` are read by the rank of stage 0, `targets` by that of the
        last stage, one each a micro-batch.
        """
        for name, values in (("inputs", inputs), ("targets", targets)):
            _as_many(name, len(values), self.schedule.micro_batches, "micro-batch")
        splits = any(op.kind == "W" for op in self.schedule.ranks[self.rank])
        with _put_off(self.stages.values() if splits else ()) as left:
            return _Step(self, inputs, targets, left).take()


class _Step:
    """One step under way."""

    def __init__(self, line, inputs, targets, left):
        self.line, self.schedule, self.left = line, line.schedule, left
        self.inputs, self.targets = inputs, targets
        self.graphs = {}  # (input, output) of each forward whose backward is to come
        self.weights_left = {}  # what is left to do for weights
        self.sent = []  # messages under way to other ranks, with their tensors
        self.own = {}  # what this rank has made for another stage of its own
        self.loss = 0.0
        weights = [p for stage in line.stages.values() for p in stage.parameters()]
        self.like = weights[0] if weights else torch.empty(0)  # the format of messages
        self.saved = SavedTensors(weights)

    def take(self):
        """Do all that the schedule says, in its order."""
        do = {"F": self.forward, "B": self.backward, "I": self.backward, "W": self.weight_grad}
        order, spans = self.schedule.ranks[self.line.rank], []
        with self.saved:
            asked = self.ask(order[0])
            for op, following in zip(order, [*order[1:], None], strict=True):
                arrived = self.receive(op, asked)
                asked = following and self.ask(following)
                start = time.perf_counter()
                made = do[op.kind](op, arrived)
                end = start + self.line.at_least_s[op.kind][op.stage]
                time.sleep(max(0, end - time.perf_counter()))
                spans.append(Span(op, start, time.perf_counter()))
                self.send(op, made)
        for message, _ in self.sent:
            message.wait()
        return Report(self.loss, tuple(spans), self.saved.peak_bytes)

    def forward(self, op, x):
        if op.stage:
            x.requires_grad_()
        out = self.line.stages[op.stage](x)
        if op.stage == self.schedule.n_stages - 1:
            out = self.line.loss(out, self.targets[op.micro]) / self.schedule.micro_batches
            self.loss += out.item()
        self.graphs[op.micro, op.stage] = x, out
        return out.detach()

    def backward(self, op, gradient):
        x, out = self.graphs.pop((op.micro, op.stage))
        if out.requires_grad:  # else the first stage is frozen
            torch.autograd.backward(out, gradient)
        if op.kind == "B":  # where other operations of the schedule are split
            _finish(self.left)
        else:
            keep = self.saved.watch
            left = [(linear, keep(x), keep(g)) for linear, x, g in self.left]
            self.weights_left[op.micro, op.stage] = left
        self.left.clear()
        return x.grad

    def weight_grad(self, op, _):
        _finish(self.weights_left.pop((op.micro, op.stage)))

    def link(self, op, ahead):
        """(rank, tag) of the message that an operation makes, or (`ahead=-1`) needs; None as rank
        where the network ends, and for weight gradients.
        """
        other = op.stage + (ahead if op.kind == "F" else -ahead)
        inside = op.kind != "W" and 0 <= other < self.schedule.n_stages
        place = op.micro * self.schedule.n_stages + (other if ahead == 1 else op.stage)
        return self.schedule.rank_of(other) if inside else None, 2 * place + (op.kind == "F")

    def ask(self, op):
        """(tensor, its arrival) of the message that an operation needs; None where none comes."""
        rank, tag = self.link(op, -1)
        if rank in (None, self.line.rank):
            return None
        message = self.like.new_empty(self.line.hidden)
        return message, dist.irecv(message, group=self.line.group, group_src=rank, tag=tag)

    def receive(self, op, asked):
        """What an operation needs: a micro-batch, an activation, a gradient or nothing."""
        if asked is not None:
            message, arrival = asked
            arrival.wait()
            return message
        if op.kind == "F" and op.stage == 0:
            return self.inputs[op.micro]
        return self.own.pop(self.link(op, -1)[1], None)

    def send(self, op, made):
        """Send what an operation has made on its way to the stage that needs it."""
        rank, tag = self.link(op, 1)
        if rank == self.line.rank:
            self.own[tag] = made
        elif rank is not None:
            if made.shape != self.line.hidden or made.dtype != self.like.dtype:
                got = f"{made.dtype} of shape {tuple(made.shape)}"
                allowed = f"{self.like.dtype} of shape hidden={self.line.hidden}, as all messages"
                remedy = "give every micro-batch as many samples, in the format of the weights"
                check.refuse(f"the result of stage {op.stage}", got, allowed, remedy)
            made = made.contiguous()
            message = dist.isend(made, group=self.line.group, group_dst=rank, tag=tag)
            self.sent.append((message, made))


@contextlib.contextmanager
def _put_off(stages):
    """A list that every backward pass of the stages within the block fills with what is left to do
    for their linear maps, as (linear, x, g). `_finish` does it. All other parameters, those of
    layers split by `tensor` among them, get their gradients at once.

    Source: Qi 2023 (Zero bubble pipeline parallelism), section 2.
    """
    left = []
    linears = [m for stage in stages for m in stage.modules() if type(m) is nn.Linear]
    for linear in linears:
        linear.forward = partial(_InputGradient.apply, linear.weight, linear, left)
    try:
        yield left
    finally:
        for linear in linears:
            del linear.forward


@torch.no_grad()
def _finish(left):
    """Add the gradients of weights and biases that a backward pass has put off.

    Shapes: x (..., in), g (..., out), weight (out, in)
    """
    for linear, x, g in left:
        x, g = x.flatten(0, -2), g.flatten(0, -2)
        for parameter in linear.parameters():
            if parameter.requires_grad:
                own = g.T @ x.to(g.dtype) if parameter is linear.weight else g.sum(0)
                own = own.to(parameter.dtype)
                parameter.grad = own if parameter.grad is None else parameter.grad + own


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, linear, left, x):
        ctx.linear, ctx.left = linear, left
        ctx.save_for_backward(x)
        return F.linear(x, weight, linear.bias)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        ctx.left.append((ctx.linear, x.detach(), g))
        needed = ctx.needs_input_grad[3]
        of_x = (g @ ctx.linear.weight.to(g.dtype)).to(x.dtype) if needed else None
        return None, None, None, of_x


def _as_many(name, got, wanted, what):
    if got != wanted:
        allowed = f"{wanted}, one for each {what}"
        check.refuse(f"members of {name}", got, allowed, "build the schedule for as many")
