"""From the parameters of an old network to those of a new one, and from its optimizer state.

One plan, {parameter: its piece}, serves both. Where a unit is copied c times, the weights that read
it are divided by c, so that the outputs stay. Their gradients stay as they were; those of the
weights that make the unit are divided by c, as each copy has only a part of the effect.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import check, models
from .units import Take

POWERS = {"exp_avg": 1, "exp_avg_sq": 2, "momentum_buffer": 1}  # of the gradient, in each state


@dataclass(frozen=True)
class Piece:
    """Where a new parameter comes from: an old one, or values of its own."""

    old: str | None = None
    takes: tuple[Take, ...] = ()
    fresh: Tensor | None = None


def build(model, shape, pieces: dict[str, Piece], adjust=None):
    """The network of this shape, made of `pieces` of `model`.

    `adjust(name, weight, piece)` may change a weight before it is set.
    """
    old = dict(model.named_parameters())
    grown = models.build(shape).to(next(model.parameters()).device)
    with torch.no_grad():
        for name, parameter in grown.named_parameters():
            piece = pieces[name]
            weight = piece.fresh if piece.old is None else old[piece.old]
            for take in piece.takes:
                weight = take.of(weight)
                if take.reads:
                    weight = weight * take.shares(weight)
            parameter.copy_(adjust(name, weight, piece) if adjust else weight)
    for part in grown.modules():
        if isinstance(part, models.Attention):  # muP's is another than that of `build`
            part.scale = model.blocks[0].attention.scale
    grown.plan = pieces
    return grown


def carry(state: dict, model) -> dict:
    """The optimizer state, by parameter, of a network that grew, from that of the old one.

    `state` is the dict that `fit(..., state=state)` filled. Parameters of new layers have none, and
    start like those of a new network.
    """
    if not hasattr(model, "plan"):
        allowed = "from widen, deepen, stack or narrow"
        check.refuse("model", "a network without a plan", allowed, "grow it first")
    pieces = {name: piece for name, piece in model.plan.items() if piece.old}
    if missing := sorted({piece.old for piece in pieces.values()} - set(state)):
        allowed = f"of the network that was grown, with {', '.join(missing[:3])}"
        check.refuse("state", list(state)[:3], allowed, "fill it with fit(small, ..., state=state)")
    return {
        name: {key: _moment(key, value, piece.takes) for key, value in state[piece.old].items()}
        for name, piece in pieces.items()
    }


def _moment(key, value, takes):
    for take in takes if value.dim() else ():  # the number of steps has no dimension
        value = take.of(value)
        share = take.shares(value)  # 0 for fresh units: nothing is known of them
        value = value * (share > 0 if take.reads else share ** POWERS[key])
    return value.clone()
