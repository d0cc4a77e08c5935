"""The parts of a network from input to head: a fresh head for a new task, a frozen beginning."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils import parametrize

from .. import check, models


def stages(model: nn.Module) -> list[str]:
    """The names of the parts of `model`, in order from the input to the head.

    A part is a layer, a block or a norm, as the model's `named_modules` calls it. A GPT's positions
    belong to "embed", and a tied head is the embedding: both are frozen or trained together.

    Taught in: 05_transfer_learning.
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

    Raises: ValueError for a GPT, an adapted network, fewer classes than two or, with `keep`, than
    the model has.
    Taught in: 05_transfer_learning.
    """
    classifier(model)
    known = model.shape.n_out if keep else 0
    check.integer("n_out", n_out, max(2, known), remedy=f"the model knows {known}" if keep else "")
    adapted = models.build(replace(model.shape, n_out=n_out), seed)
    head = stages(model)[-1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fresh = adapted.get_parameter(name)
            if name.startswith(f"{head}."):
                fresh[:known] = parameter[:known]
            else:
                fresh.copy_(parameter)
    return adapted.to(parameter.device)


def freeze(model: nn.Module, n: int) -> nn.Module:
    """`model`, in place, its first `n` stages no longer trained and all others trained.

    0 is full fine-tuning; `len(stages(model)) - 1` leaves the head alone, a linear probe. `fit` and
    `fit_many` leave frozen parameters as they are, bit by bit, weight decay included.

    Raises: ValueError for an adapted network, or if no parameter would be left to train.
    Source: Yosinski 2014, section 2 (frozen and fine-tuned layers).
    Taught in: 05_transfer_learning.
    """
    plain(model)
    names = stages(model)
    check.integer("n", n, 0, len(names) - 1, "the head, the last stage, must learn the new task")
    model.requires_grad_(True)
    for name in names[:n]:
        model.get_submodule(name).requires_grad_(False)
    if n and getattr(model, "position", None) is not None:
        model.position.requires_grad_(False)
    if not trainable_params(model):
        raise ValueError(
            f"n={n}: it must be at most {len(names) - 2}, as the head is tied to the embedding and"
            " frozen with it. Build the shape with tied=False, or freeze fewer stages."
        )
    return model


def trainable_params(model: nn.Module) -> int:
    """Parameters of `model` that training changes.

    Taught in: 05_transfer_learning.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def plain(model: nn.Module) -> nn.Module:
    """`model`, where all its parts are as they were built.

    Raises: ValueError for a network with adapters or an anchor.
    """
    # an adapter alone has a delta: `lora` imports this module, not the other way round
    if any(hasattr(part, "delta") for part in model.modules()):
        raise ValueError(
            "model has LoRA adapters: it must be a plain network here. Call merge(model) first."
        )
    if any(parametrize.is_parametrized(part) for part in model.modules()):
        raise ValueError(
            "model has an anchor: it must be a plain network here. Call release(model) first."
        )
    return model


def classifier(model: nn.Module) -> nn.Module:
    """`model`, where it is a plain network with a class for each output.

    Raises: ValueError for a GPT or an adapted network.
    """
    if not hasattr(model.shape, "n_out"):
        raise ValueError(
            f"model is a {type(model).__name__}: it must be a classifier, an MLP or a conv net. A"
            " GPT keeps its head: fine-tune it as it is, or with add_lora."
        )
    return plain(model)
