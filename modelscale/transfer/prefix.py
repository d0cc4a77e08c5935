"""A frozen beginning computed once: the features of the data, and a tail that is trained on them.

What is frozen gives the same output in every epoch. So the network is cut in two: `features` runs
the data through the prefix once, `fit` or `fit_many` train the tail on them, `join` puts both
together. It ends where training the frozen whole ends.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import nn

from .. import check, models
from ..data import Dataset
from .stages import classifier, stages

CHUNK = 1000  # samples that go through the prefix at a time


@dataclass(frozen=True)
class TailShape:
    """The shape of what is left of a network behind its first stages, as `fit` wants it."""

    whole: object  # the shape of the whole network
    frozen: int  # stages in front of the tail
    forward_flops: int  # of one sample through the tail
    training_flops: int  # of one sample, the gradients of the trained parameters included

    @property
    def n_out(self) -> int:
        """Classes."""
        return self.whole.n_out

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of the tail alone for `batch` samples, forward or a whole training step."""
        one = self.training_flops if training else self.forward_flops
        return check.integer("batch", batch) * one

    def train_flops(self, samples: int) -> int:
        """FLOPs of training the tail on `samples` samples, the features not counted."""
        return self.matmul_flops(samples, training=True)


class Prefix(nn.Module):
    """The frozen first stages of a network: (B, ...) -> features (B, ...)."""

    def __init__(self, steps):
        super().__init__()
        self.steps = nn.Sequential(*steps).requires_grad_(False)

    def forward(self, x):
        return self.steps(x)


class Tail(nn.Module):
    """The other stages, with weights of their own: features (B, ...) -> (B, n_out)."""

    def __init__(self, steps):
        super().__init__()
        self.steps = nn.Sequential(*steps).requires_grad_(True)

    def forward(self, x):
        return self.steps(x)


def split(model: nn.Module, n: int) -> tuple[Prefix, Tail]:
    """The first `n` stages of `model`, frozen, and the rest to train; copies, `model` stays.

    Raises: ValueError for a GPT, whose text is drawn anew in every step, for an adapted network, or
    unless 1 <= n < len(stages(model)).
    Taught in: 05_transfer_learning.
    """
    classifier(model)
    check.integer("n", n, 1, len(stages(model)) - 1, "0 would leave no prefix, and the head trains")
    steps = copy.deepcopy(_steps(model))
    prefix, tail = Prefix(steps[:n]), Tail(steps[n:])
    x = prefix(models.one_sample(model.shape).to(next(model.parameters()).device))
    flops = (models.counted_flops(tail, x, training) for training in (False, True))
    tail.shape = TailShape(model.shape, n, *flops)
    return prefix, tail


def features(prefix: Prefix, data: Dataset) -> Dataset:
    """`data` after the prefix: the same labels, the features in place of the inputs.

    Taught in: 05_transfer_learning.
    """
    device = next(prefix.parameters()).device
    parts = {}
    with torch.no_grad():
        for name in ("x_train", "x_test"):
            pieces = getattr(data, name).split(CHUNK)
            parts[name] = torch.cat([prefix(x.to(device)).to(x.device) for x in pieces])
    return replace(data, **parts, name=f"features of {data.name}")


def join(prefix: Prefix, tail: Tail) -> nn.Module:
    """The whole network of a prefix and its tail, once more a copy, all of it trained.

    Raises: ValueError for a tail that belongs to another prefix.
    Taught in: 05_transfer_learning.
    """
    if len(prefix.steps) != tail.shape.frozen:
        raise ValueError(
            f"prefix has {len(prefix.steps)} stages: it must have {tail.shape.frozen}, as the one"
            " the tail was split from. Keep both as split(model, n) returned them."
        )
    model = models.build(tail.shape.whole)
    with torch.no_grad():
        parts = [*prefix.parameters(), *tail.parameters()]
        for parameter, trained in zip(model.parameters(), parts, strict=True):
            parameter.copy_(trained)
    return model.to(trained.device)


def _steps(model):
    """Each stage as one module, with what the network's forward pass does around it."""
    if isinstance(model, models.MLP):
        return [*(nn.Sequential(p, nn.ReLU()) for p in model.layers[:-1]), model.layers[-1]]
    if isinstance(model, models.ResidualMLP):
        return [model.stem, *model.blocks, nn.Sequential(model.norm, nn.ReLU()), model.head]
    pooled = [nn.MaxPool2d(2)] if isinstance(model, models.ConvNet2d) else []
    convs = [nn.Sequential(conv, *pooled, nn.ReLU()) for conv in model.convs]
    if isinstance(model, models.ConvNet):
        convs[0].insert(0, nn.Unflatten(1, (1, -1)))  # (B, n_in) -> (B, 1, n_in)
    return [*convs, nn.Sequential(nn.Flatten(), model.head)]
