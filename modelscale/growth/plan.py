"""From the parameters of an old network to those of a new one, and from its optimizer state.

One plan serves both. Where a unit is copied c times, the weights that read it are divided by c, so
that the outputs stay. Their gradients stay as they were; those of the weights that make the unit
are divided by c, as each copy has only a part of the effect.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import models
from .units import Take

POWERS = {"exp_avg": 1, "exp_avg_sq": 2, "momentum_buffer": 1}  # of the gradient, in each state


@dataclass(frozen=True)
class Piece:
    """Where a new parameter comes from: an old one, or values of its own."""

    old: str | None = None
    takes: tuple[Take, ...] = ()
    fresh: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """How each parameter of a new network comes from those of an old one, by name."""

    shape: object  # of the new network
    pieces: dict[str, Piece] = field(default_factory=dict)

    def build(self, model, adjust=None):
        """The new network; `adjust(name, weight, piece)` may change a weight before it is set."""
        old = dict(model.named_parameters())
        device = next(model.parameters()).device
        grown = models.build(self.shape).to(device)
        with torch.no_grad():
            for name, parameter in grown.named_parameters():
                piece = self.pieces[name]
                weight = piece.fresh if piece.old is None else _weight(old[piece.old], piece.takes)
                parameter.copy_(adjust(name, weight, piece) if adjust else weight)
        scales = [part.scale for part in model.modules() if isinstance(part, models.Attention)]
        for part in grown.modules():
            if isinstance(part, models.Attention):  # muP's is another than that of `build`
                part.scale = scales[0]
        grown.plan = self
        return grown


def carry(state: dict, model) -> dict:
    """The optimizer state, by parameter, of a network that grew, from that of the old one.

    `state` is the dict that `fit(..., state=state)` filled. Parameters of new layers have none, and
    start like those of a new network.
    """
    if not hasattr(model, "plan"):
        raise ValueError(
            "model has no plan: it must come from widen, deepen, stack or narrow. Grow it first,"
            " as in big = growth.widen(small, width=256)."
        )
    sources = {piece.old for piece in model.plan.pieces.values() if piece.old}
    if not sources <= set(state):
        missing = ", ".join(sorted(sources - set(state))[:3])
        raise ValueError(
            f"state has nothing for {missing}: it must be that of the network which was grown."
            " Fill it with fit(small, ..., state=state)."
        )
    return {
        name: {key: _moment(key, value, piece.takes) for key, value in state[piece.old].items()}
        for name, piece in model.plan.pieces.items()
        if piece.old
    }


def _weight(old, takes):
    for take in takes:
        old = old.index_select(take.dim, take.entries.to(old.device))
        if take.reads:
            old = old * _along(take, old)
    return old


def _moment(key, value, takes):
    if value.dim() == 0:  # the number of steps
        return value.clone()
    for take in takes:
        value = value.index_select(take.dim, take.entries.to(value.device))
        share = _along(take, value)  # 0 for fresh units: nothing is known of them
        value = value * (share > 0 if take.reads else share ** POWERS[key])
    return value.clone()


def _along(take, tensor):
    """The shares, shaped to be multiplied along the dimension they belong to."""
    sizes = [1] * tensor.dim()
    sizes[take.dim] = -1
    return take.share.to(tensor).view(sizes)
