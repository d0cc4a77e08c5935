"""More layers: new ones that change nothing, or copies of the old ones."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from .. import check, models
from .plan import Piece, build
from .units import groups

TO_RESIDUAL = ("linear", "attention.out", "mlp.down")  # the last map of a residual block


def deepen(model, seed: int = 0, **size: int):
    """A deeper copy of `model` with the same outputs; the new layers come last, before the head.

    `size` is `depth`, or `n_layer` of a GPT. In a plain net new layers are identities, as
    ReLU(ReLU(x)) = ReLU(x). In a residual one their last map is zero and the stream passes by; the
    first step moves that map alone, the rest of the block follows.

    Source: Chen 2016 (Net2Net), section 2; Zhang 2019 (Fixup), section 3, for the zero maps.
    """
    if isinstance(model, models.ConvNet):
        high = model.shape.depth
        check.integer("n_stride", model.shape.n_stride, 0, high, "the new layers have no stride")
    return _deeper(model, size, seed, lambda i: None)


def stack(model, **size: int):
    """A deeper copy of `model` in which its blocks are repeated as a whole; the outputs change.

    `size` is `depth`, or `n_layer` of a GPT. A number that is no multiple ends within a repetition.

    Source: Gong 2019 (Efficient training of BERT by progressively stacking), section 3.
    """
    blocks = getattr(model, "blocks", ())
    check.integer("blocks", len(blocks), remedy="stack a GPT or a residual MLP, deepen others")
    return _deeper(model, size, 0, lambda i: i % len(blocks))


def _deeper(model, size, seed, copied: Callable):
    """`model` with more layers; the i-th new one copies the old one `copied(i)`, if not None."""
    groups(model)  # refuses other networks
    dial = "n_layer" if isinstance(model, models.GPT) else "depth"
    old = getattr(model.shape, dial)
    check.one_of("size", list(size), ([dial],), f"as in {dial}={2 * old}")
    check.integer(dial, size[dial], old + 1, remedy="only deeper is possible")
    prefix, layers = next(
        (name, part) for name, part in model.named_children() if isinstance(part, nn.ModuleList)
    )
    order = list(range(len(layers)))
    last = len(layers) - isinstance(model, models.MLP)  # its head stands in the list
    order[last:last] = [copied(i) for i in range(size[dial] - old)]
    shape, pieces = replace(model.shape, **size), {}
    for name, value in models.build(shape, seed).named_parameters():
        head, _, rest = name.partition(".")
        index, _, leaf = rest.partition(".")
        source = order[int(index)] if head == prefix else index
        if source is None:
            pieces[name] = Piece(fresh=_passing(model, leaf, value.detach().clone()))
        else:
            pieces[name] = Piece(name.replace(index, str(source), 1))
    return build(model, shape, pieces)


def _passing(model, leaf, value):
    """The values of a parameter of a new layer with which the layer changes nothing."""
    plain = isinstance(model, models.MLP | models.ConvNet)
    if not plain and leaf.rpartition(".")[0] not in TO_RESIDUAL:
        return value
    same = torch.zeros_like(value)
    if plain and leaf == "weight":
        (same[:, :, value.shape[2] // 2] if value.dim() == 3 else same).fill_diagonal_(1)
    return same
