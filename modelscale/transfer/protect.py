"""What protects a network from forgetting its first task while it learns a second."""

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils import parametrize

from .. import check, models
from ..data import Dataset
from .stages import classifier, plain, stages


def interpolate(a: nn.Module, b: nn.Module, share: float) -> nn.Module:
    """A network whose weights are (1 - share) of `a`'s and `share` of `b`'s: 0 is `a`, 1 is `b`.

    Raises: ValueError for networks of two shapes, or a share outside 0 to 1.
    Source: Wortsman 2022 (Robust fine-tuning of zero-shot models), WiSE-FT, section 3.
    Taught in: 05_transfer_learning.
    """
    _same_shape(plain(a), plain(b))
    share = _share(share, 1.0)
    between = copy.deepcopy(a)
    with torch.no_grad():
        for parameter, other in zip(between.parameters(), b.parameters(), strict=True):
            parameter.lerp_(other, share)
    return between


def anchor(model: nn.Module) -> nn.Module:
    """A copy of `model` whose weight decay pulls it back to where it is now, not to zero.

    Each weight is written as start + offset, and the offset is what is trained: so the recipe's
    `weight_decay` is the anchor's strength. The head, new to its task, still decays to zero. Under
    "sgd" this is L2-SP as published; under "adamw" the pull is decoupled, as its decay is.

    Raises: ValueError for a GPT, or an adapted network.
    Source: Li 2018 (Explicit inductive bias for transfer learning with CNNs), section 3.
    Taught in: 05_transfer_learning.
    """
    anchored = copy.deepcopy(classifier(model))
    head = anchored.get_submodule(stages(model)[-1])
    for part in [part for part in anchored.modules() if part is not head]:
        for name, parameter in list(part.named_parameters(recurse=False)):
            parametrize.register_parametrization(part, name, Offset(parameter))
    return anchored


def release(model: nn.Module) -> nn.Module:
    """A plain copy of an anchored network, with the weights it has reached.

    Raises: ValueError for a network without an anchor.
    Taught in: 05_transfer_learning.
    """
    if not any(parametrize.is_parametrized(part) for part in model.modules()):
        raise ValueError("model has no anchor: there must be one. Call anchor(model) first.")
    # Built anew, as torch's own way back would undo the anchor of every copy of `model`, too.
    free = models.build(model.shape)
    with torch.no_grad():
        for name, parameter in free.named_parameters():
            part, _, last = name.rpartition(".")
            parameter.copy_(getattr(model.get_submodule(part), last))
    return free.to(next(model.parameters()).device)


class Offset(nn.Module):
    """start + offset, where the start never changes."""

    def __init__(self, start: torch.Tensor):
        super().__init__()
        self.start = nn.Parameter(start.detach().clone(), requires_grad=False)

    def forward(self, offset):
        return self.start + offset

    def right_inverse(self, weight):
        """The offset of a weight: torch asks for it once, and it is zero then."""
        return weight - self.start


def mixed(source: Dataset, target: Dataset, share: float, seed: int = 0) -> Dataset:
    """`target` with samples of `source` among its training samples, a `share` of all: rehearsal.

    The classes are those of the source, then those of the target, whose labels move up: train it on
    `adapt(model, n_out=mixed.n_classes, keep=True)`. The test set is the target's.

    Raises: ValueError for a share outside 0 to below 1, or that takes more than the source has.
    Source: Robins 1995 (Catastrophic forgetting, rehearsal and pseudorehearsal).
    Taught in: 05_transfer_learning.
    """
    wanted = round(_share(share, 0.999) / (1 - share) * len(target.y_train))
    check.integer("samples of the source", wanted, 0, len(source.y_train), "mix in a lower share")
    generator = torch.Generator().manual_seed(check.integer("seed", seed, low=0))
    rows = torch.randperm(len(source.y_train), generator=generator)[:wanted]
    return replace(
        target,
        x_train=torch.cat([source.x_train[rows], target.x_train]),
        y_train=torch.cat([source.y_train[rows], target.y_train + source.n_classes]),
        y_test=target.y_test + source.n_classes,
        n_classes=source.n_classes + target.n_classes,
        name=f"{source.name} among {target.name}",
    )


def _share(share, most):
    share = check.number("share", share, above=False)
    if share > most:
        raise ValueError(f"share={share!r}: it must be a share of at least 0 and at most {most:g}.")
    return share


def _same_shape(a, b):
    if a.shape != b.shape:
        raise ValueError(
            f"b.shape={b.shape!r}: it must be {a.shape!r} as in a, weight for weight. Give both the"
            " same head: interpolate between adapt(model, n_out) and what it became."
        )
