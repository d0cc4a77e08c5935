"""The parts of a network from input to head: a fresh head, a frozen beginning and its features."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from .. import check, models
from ..data import Dataset

CHUNK = 1000  # samples that go through frozen stages at a time


def stages(model: nn.Module) -> list[str]:
    """The names of the parts of `model`, in order from the input to the head.

    A part is a layer, a block or a norm, as the model's `named_modules` calls it. A GPT's positions
    belong to "embed", and a tied head is the embedding: both are frozen or trained together.
    """
    names = []
    for name, part in model.named_children():
        if isinstance(part, nn.ModuleList):
            names += [f"{name}.{i}" for i in range(len(part))]
        elif name != "position":
            names.append(name)
    return names


def adapt(model: nn.Module, n_out: int, seed: int = 0, keep: bool = False) -> nn.Module:
    """A copy of `model` for `n_out` classes: its body, and a head drawn afresh from `seed`.

    With `keep` the head goes on knowing the old classes, and only the further ones are drawn.
    All of the copy is trained, whatever was frozen in `model`.
    """
    if not hasattr(model.shape, "n_out"):
        remedy = "a GPT keeps its head: fine-tune it as it is, or with add_lora"
        check.refuse("model", type(model).__name__, "a classifier, an MLP or a conv net", remedy)
    _refuse_adapters(model)
    known = model.shape.n_out if keep else 0
    check.integer("n_out", n_out, max(2, known), remedy=f"the model knows {known}" if keep else "")
    adapted = models.build(replace(model.shape, n_out=n_out), seed)
    head = stages(model)[-1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = slice(known) if name.startswith(f"{head}.") else slice(None)
            adapted.get_parameter(name)[rows] = parameter[rows]
    return adapted.to(parameter.device)


def freeze(model: nn.Module, n: int) -> nn.Module:
    """`model`, in place, its first `n` stages no longer trained and all others trained.

    0 is full fine-tuning; `len(stages(model)) - 1` leaves the head alone, a linear probe. `fit` and
    `fit_many` leave frozen parameters as they are, bit by bit, weight decay included.

    Source: Yosinski 2014, section 2 (frozen and fine-tuned layers).
    """
    _refuse_adapters(model)
    names = stages(model)
    check.integer("n", n, 0, len(names) - 1, "the head, the last stage, must learn the new task")
    model.requires_grad_(True)
    for name in names[:n]:
        model.get_submodule(name).requires_grad_(False)
    if n and getattr(model, "position", None) is not None:
        model.position.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        remedy = "the head is tied to the embedding and frozen with it; build with tied=False"
        check.integer("n", n, 0, len(names) - 2, remedy)
    return model


def features(model: nn.Module, n: int, data: Dataset) -> tuple[nn.Module, Dataset]:
    """(tail, features): the stages of a conv net behind its first `n`, and `data` as those give it.

    What is frozen gives the same in every epoch, so it is computed once. The tail is no copy: to
    train it on the features is to train `model` with `n` frozen stages, as it is from here on.
    """
    if not isinstance(model, models.ConvNet | models.ConvNet2d):
        check.refuse("model", type(model).__name__, "a conv net", "freeze any other, and train it")
    check.integer("n", n, 1, len(model.convs), "the head must learn")
    freeze(model, n)
    pooled = [nn.MaxPool2d(2)] if isinstance(model, models.ConvNet2d) else []
    parts = [nn.Sequential(conv, *pooled, nn.ReLU()) for conv in model.convs]
    if isinstance(model, models.ConvNet):
        parts[0].insert(0, nn.Unflatten(1, (1, -1)))  # (B, n_in) -> (B, 1, n_in)
    frozen, tail = nn.Sequential(*parts[:n]), nn.Sequential(*parts[n:], nn.Flatten(), model.head)
    device = next(model.parameters()).device

    @torch.no_grad()
    def seen(whole):
        return torch.cat([frozen(x.to(device)).to(x.device) for x in whole.split(CHUNK)])

    x = seen(models.one_sample(model.shape)).to(device)
    flops = (models.counted_flops(tail, x, training) for training in (False, True))
    tail.shape = _TailShape(*flops)
    given = {"x_train": seen(data.x_train), "x_test": seen(data.x_test)}
    return tail, replace(data, **given, name=f"features of {data.name}")


@dataclass(frozen=True)
class _TailShape:
    """What `fit` wants to know of a tail: its FLOPs for one sample."""

    forward_flops: int
    training_flops: int  # the gradients of the trained parameters included

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of the tail alone for `batch` samples, forward or a whole training step."""
        return batch * (self.training_flops if training else self.forward_flops)


def _refuse_adapters(model):
    if any(hasattr(part, "delta") for part in model.modules()):  # an adapter alone has one
        check.refuse("model", "with LoRA adapters", "a plain network", "call merge(model) first")
