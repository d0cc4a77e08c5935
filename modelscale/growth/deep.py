"""More layers: new ones that change nothing, or copies of the old ones."""

from dataclasses import dataclass, replace

import torch

from .. import check, models
from .plan import Piece, Plan
from .units import groups

TO_RESIDUAL = ("linear", "attention.out", "mlp.down")  # the last map of a residual block


def deepen(model, seed: int = 0, **size: int):
    """A deeper copy of `model` with the same outputs; the new layers come last, before the head.

    `size` is `depth`, or `n_layer` of a GPT. In a plain net new layers are identities, as
    ReLU(ReLU(x)) = ReLU(x). In a residual one their last map is zero and the stream passes by; the
    first step moves that map alone, the rest of the block follows.

    Raises: ValueError for a depth that is not larger, or a new layer that would change the outputs.
    Source: Chen 2016 (Net2Net), section 2; Zhang 2019 (Fixup), section 3, for the zero maps.
    """
    ladder = _ladder(model)
    if getattr(model.shape, "n_stride", 0) > ladder.n:
        check.refuse("n_stride", model.shape.n_stride, f"at most depth={ladder.n} to be deepened")
    return _plan(model, ladder, size, lambda more: [None] * more, seed).build(model)


def stack(model, **size: int):
    """A deeper copy of `model` in which its layers are repeated as a whole; the outputs change.

    `size` is `depth`, or `n_layer` of a GPT. Of a plain MLP the square layers are repeated: all but
    the first and the head. A number that is no multiple ends within a repetition.

    Raises: ValueError for a depth that is not larger, or a network without layers to repeat.
    Source: Gong 2019 (Efficient training of BERT by progressively stacking), section 3.
    """
    ladder = _ladder(model)
    cycle = range(ladder.first, ladder.n)
    if not cycle or isinstance(model, models.ConvNet):
        raise ValueError(
            f"model is a {type(model).__name__} of {ladder.n} layers: to be stacked it must"
            " have layers of equal shape, behind the first of an MLP. Use deepen."
        )
    repeated = lambda more: [cycle[i % len(cycle)] for i in range(more)]  # noqa: E731
    return _plan(model, ladder, size, repeated).build(model)


@dataclass(frozen=True)
class _Ladder:
    """The layers of one network as a list of modules."""

    dial: str  # the field of the shape that counts them
    prefix: str  # of their parameters' names
    n: int  # layers or blocks
    first: int = 0  # the first one whose shape is that of those behind it
    tail: int = 0  # modules of the list that are not counted: the head


def _ladder(model) -> _Ladder:
    groups(model)  # refuses other networks
    shape = model.shape
    if isinstance(model, models.MLP):
        return _Ladder("depth", "layers", shape.depth, first=1, tail=1)
    if isinstance(model, models.ResidualMLP):
        return _Ladder("depth", "blocks", shape.depth - 1)
    if isinstance(model, models.GPT):
        return _Ladder("n_layer", "blocks", shape.n_layer)
    return _Ladder("depth", "convs", shape.depth, first=1)


def _plan(model, ladder, size, new_layers, seed=0) -> Plan:
    """The plan in which the old layers are followed by `new_layers(how many)`.

    Each of these is the number of the old one that it copies, or None: it changes nothing.
    """
    old = getattr(model.shape, ladder.dial)
    check.one_of("size", list(size), ([ladder.dial],), f"as in {ladder.dial}={2 * old}")
    new = check.integer(ladder.dial, size[ladder.dial], old + 1, remedy="only deeper is possible")
    order = [*range(ladder.n), *new_layers(new - old), *range(ladder.n, ladder.n + ladder.tail)]
    pieces, shape = {}, replace(model.shape, **size)
    for name, value in models.build(shape, seed).named_parameters():
        head, _, rest = name.partition(".")
        index, _, leaf = rest.partition(".")
        source = order[int(index)] if head == ladder.prefix else None
        if head != ladder.prefix:
            pieces[name] = Piece(name)
        elif source is None:
            pieces[name] = Piece(fresh=_passing(model, leaf, value.detach().clone()))
        else:
            pieces[name] = Piece(f"{head}.{source}.{leaf}")
    return Plan(shape, pieces)


def _passing(model, leaf, value):
    """The values of a parameter of a new layer with which the layer changes nothing."""
    if isinstance(model, models.MLP | models.ConvNet):
        same = torch.zeros_like(value)
        if leaf == "weight":
            middle = same[:, :, value.shape[2] // 2] if value.dim() == 3 else same
            middle.fill_diagonal_(1)
        return same
    return torch.zeros_like(value) if leaf.rpartition(".")[0] in TO_RESIDUAL else value
