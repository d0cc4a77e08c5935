"""More layers: new ones that change nothing, or copies of the old ones."""

from dataclasses import dataclass, replace

import torch

from .. import check, models
from .plan import Piece, Plan
from .units import groups

TO_RESIDUAL = ("linear", "attention.out", "mlp.down")  # the last map of a residual block


def deepen(model, at: int | None = None, seed: int = 0, **size: int):
    """A deeper copy of `model` with the same outputs; the new layers stand before layer `at`.

    `size` is `depth`, or `n_layer` of a GPT. Layers, or blocks of a residual net, are counted from
    0; without `at` the new ones come last. In a plain net they are identities: ReLU(ReLU(x)) =
    ReLU(x), so they must follow a ReLU. In a residual one their last map is zero and the stream
    passes by; the first step moves that map alone, the rest of the block follows.

    Raises: ValueError for a depth that is not larger, or a place where the outputs would change.
    Source: Chen 2016 (Net2Net), section 2; Zhang 2019 (Fixup), section 3, for the zero maps.
    Taught in: 06_growing_models.
    """
    ladder = _ladder(model)
    shape, more = _deeper(model, ladder, size)
    check.integer("seed", seed, 0)
    remedy = f"{ladder.why}; without `at` the new layers come last"
    at = ladder.n if at is None else check.integer("at", at, ladder.lowest, ladder.n, remedy)
    order = [*range(at), *[None] * more, *range(at, ladder.n + ladder.tail)]
    return _plan(model, ladder, shape, order, seed).build(model)


def stack(model, **size: int):
    """A deeper copy of `model` in which its layers are repeated as a whole; the outputs change.

    `size` is `depth`, or `n_layer` of a GPT. Of a plain MLP the square layers are repeated: all but
    the first and the head. A number that is no multiple ends within a repetition.

    Raises: ValueError for a depth that is not larger, or a network without layers to repeat.
    Source: Gong 2019 (Efficient training of BERT by progressively stacking), section 3.
    Taught in: 06_growing_models.
    """
    ladder = _ladder(model)
    shape, more = _deeper(model, ladder, size)
    cycle = range(ladder.first, ladder.n)
    if not cycle or isinstance(model, models.ConvNet):
        raise ValueError(
            f"model is a {type(model).__name__} of {ladder.n} layers: to be stacked it must"
            " have layers of equal shape, behind the first of an MLP. Use deepen."
        )
    repeated = [cycle[i % len(cycle)] for i in range(len(cycle) + more)]
    order = [*range(ladder.first), *repeated, *range(ladder.n, ladder.n + ladder.tail)]
    return _plan(model, ladder, shape, order).build(model)


@dataclass(frozen=True)
class Ladder:
    """The layers of one network as a list of modules."""

    dial: str  # the field of the shape that counts them
    prefix: str  # of their parameters' names
    n: int  # layers or blocks
    first: int = 0  # the first one whose shape is that of those behind it
    lowest: int = 0  # the first place where a new layer changes nothing
    why: str = ""  # a place below it is not allowed
    tail: int = 0  # modules of the list that are not counted: the head


def _ladder(model) -> Ladder:
    groups(model)  # refuses other networks
    shape = model.shape
    if isinstance(model, models.MLP):
        why = "an identity must follow a ReLU"
        return Ladder("depth", "layers", shape.depth, first=1, lowest=1, why=why, tail=1)
    if isinstance(model, models.ResidualMLP):
        return Ladder("depth", "blocks", shape.depth - 1)
    if isinstance(model, models.GPT):
        return Ladder("n_layer", "blocks", shape.n_layer)
    if shape.depth < shape.n_stride:
        raise ValueError(
            f"depth={shape.depth} with n_stride={shape.n_stride}: a new layer would have stride 2"
            " and change the outputs. Build the small net with n_stride at most its depth."
        )
    why = "an identity must follow a ReLU and the layers with stride 2"
    return Ladder("depth", "convs", shape.depth, first=1, lowest=max(1, shape.n_stride), why=why)


def _deeper(model, ladder, size):
    """(the new shape, how many layers it has more), the size checked."""
    old = getattr(model.shape, ladder.dial)
    if list(size) != [ladder.dial]:
        raise ValueError(
            f"sizes given: {', '.join(size) or 'none'}; it must be {ladder.dial} alone,"
            f" as in {ladder.dial}={2 * old}."
        )
    new = check.integer(ladder.dial, size[ladder.dial], old + 1, remedy="only deeper is possible")
    return replace(model.shape, **size), new - old


def _plan(model, ladder, shape, order, seed=0) -> Plan:
    """The plan in which layer i is the old layer order[i], or a new one that changes nothing."""
    pieces, old_names = {}, {name for name, _ in model.named_parameters()}
    for name, value in models.build(shape, seed).named_parameters():
        head, _, rest = name.partition(".")
        if head != ladder.prefix:
            pieces[name] = Piece(name)
            continue
        index, _, leaf = rest.partition(".")
        source = order[int(index)]
        if source is None:
            pieces[name] = Piece(fresh=_passing(model, leaf, value.detach().clone()))
        else:
            pieces[name] = Piece(f"{head}.{source}.{leaf}")
            assert pieces[name].old in old_names
    return Plan(shape, pieces)


def _passing(model, leaf, value):
    """The values of a parameter of a new layer with which the layer changes nothing."""
    if isinstance(model, models.MLP | models.ConvNet):
        if leaf == "bias":
            return torch.zeros_like(value)
        same = torch.zeros_like(value)
        middle = same[:, :, value.shape[2] // 2] if value.dim() == 3 else same
        middle.fill_diagonal_(1)
        return same
    module = leaf.rpartition(".")[0]
    return torch.zeros_like(value) if module in TO_RESIDUAL else value
