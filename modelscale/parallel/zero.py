"""ZeRO by hand: ranks that share a batch also share what training has to keep.

Data parallelism keeps weights, gradients and optimizer states once on every rank. Stage 1 gives
each rank a part of the optimizer states alone, stage 2 of the gradients too, stage 3 of the weights
too: then each layer's weights are gathered when they are needed, and dropped again.
Source: Rajbhandari 2020, section 5. Legend: p ranks, n parameters.
"""

import math

import torch
import torch.distributed as dist
from torch import nn

from .. import check
from . import ring
from .data import broadcast


class Zero(nn.Module):
    """`network` on this rank, trained with its states split over the ranks from `stage` on.

    As usual, but for the last two lines: loss = f(zero(x)), loss.backward(), zero.step(). The
    optimizer is AdamW or another that treats every number by itself; `options` are its own.
    Backward passes before a step add up: stages 0 and 1 send in `step`, 2 and 3 in each pass.

    Each layer must be called itself and give back one tensor (nn.MultiheadAttention does neither);
    in stage 3, none may be computed again in the backward pass (`for_training` with recomputation).
    """

    def __init__(self, network, stage: int, optimizer=torch.optim.AdamW, group=None, **options):
        super().__init__()
        self.network, self.group = network, group
        self.stage = check.integer("stage", stage, 0, 3, "0 splits nothing, 3 everything")
        broadcast(network, group=group)
        self.units = [_Unit(layer, stage, group) for layer in _layers(network)]
        self.optimizer = optimizer([unit.shard for unit in self.units], **options)

    def forward(self, *inputs):
        return self.network(*inputs)

    def step(self) -> None:
        """Take one step of the optimizer, after which all ranks agree on the weights again."""
        if missing := [i for i, unit in enumerate(self.units) if not unit.has_gradient()]:
            raise ValueError(f"no gradient in layers {missing}: every layer must be in the loss.")
        for unit in self.units:
            if self.stage < 2:
                unit.reduce()
            unit.drop()  # gathered since, as for a gradient of the input alone: about to be old
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.stage in (1, 2):
            for unit in self.units:
                ring.all_gather(unit.flat, self.group)

    def weights(self) -> torch.Tensor:
        """A copy of all parameters, layer by layer: (n,). All ranks must ask for it together."""
        copies = []
        for unit in self.units:
            unit.gather()
            copies.append(unit.flat[: unit.n].clone())
            unit.drop()
        return torch.cat(copies)


class _Unit:
    """The parameters of one layer as one flat tensor, and this rank's shard of it."""

    def __init__(self, layer, stage, group):
        self.stage, self.group, self.ranks = stage, group, dist.get_world_size(group)
        self.parameters = list(layer.parameters(recurse=False))
        self.shapes = [p.shape for p in self.parameters]
        self.n = sum(p.numel() for p in self.parameters)
        padded = math.ceil(self.n / self.ranks) * self.ranks  # equal chunks
        self.flat = self.parameters[0].new_zeros(padded)
        self.full_bytes, self.arrived = self.flat.nbytes, 0
        with torch.no_grad():
            torch.cat([p.flatten() for p in self.parameters], out=self.flat[: self.n])
        self._point()
        if stage >= 2:
            for p in self.parameters:
                p.register_post_accumulate_grad_hook(self._arrived)
        shard = self.flat if stage == 0 else self._own_chunk()
        self.shard = nn.Parameter(shard.clone() if stage == 3 else shard)
        if stage == 3:
            layer.register_forward_pre_hook(lambda *_: self.gather())
            layer.register_forward_hook(self._after_forward)
            self.drop()

    def has_gradient(self):
        """Whether a backward pass has reached every parameter of the layer."""
        wanted = [self.shard] if self.stage >= 2 else self.parameters
        return all(p.grad is not None for p in wanted)

    @torch.no_grad()
    def gather(self):
        """Make the whole weights of the layer, where only the shard is there."""
        storage = self.flat.untyped_storage()
        if storage.nbytes():
            return
        storage.resize_(self.full_bytes)  # the place that the backward pass remembers
        self._own_chunk().copy_(self.shard)
        ring.all_gather(self.flat, self.group)
        self._point()

    def drop(self):
        """Free the whole weights, where the shard is kept by itself."""
        if self.stage == 3:
            for p in self.parameters:
                p.data = p.data.new_empty(0)
            self.flat.untyped_storage().resize_(0)

    @torch.no_grad()
    def reduce(self):
        """Average the layer's gradients; keep, and add to what is there, the shard's part alone."""
        full = self.flat.new_zeros(len(self.flat))
        full[: self.n] = torch.cat([p.grad.flatten() for p in self.parameters])
        for p in self.parameters:
            p.grad = None
        if self.stage == 0:
            ring.all_reduce(full, self.group)
        mine = (full if self.stage == 0 else ring.reduce_scatter(full, self.group)) / self.ranks
        self.shard.grad = mine if self.shard.grad is None else self.shard.grad + mine

    def _arrived(self, _):
        self.arrived += 1
        if self.arrived == len(self.parameters):
            self.arrived = 0
            self.reduce()
            self.drop()

    def _after_forward(self, layer, inputs, output):
        self.drop()
        if output.requires_grad:  # as soon as its gradient is known, the layer's weights are needed
            output.register_hook(lambda _: self.gather())

    def _own_chunk(self):
        return self.flat.view(self.ranks, -1)[dist.get_rank(self.group)]

    def _point(self):
        """Make each parameter a view of its part of the flat tensor."""
        pieces = self.flat[: self.n].split([math.prod(shape) for shape in self.shapes])
        for p, piece, shape in zip(self.parameters, pieces, self.shapes, strict=True):
            p.data = piece.view(shape)


def _layers(network):
    """The modules that hold parameters themselves, in order."""
    owned = {m: list(m.parameters(recurse=False)) for m in network.modules()}
    owned = {layer: parameters for layer, parameters in owned.items() if parameters}
    if sum(map(len, owned.values())) > len(list(network.parameters())):
        raise ValueError("network: two layers share a parameter; each must have its own. Untie it.")
    if not all(p.requires_grad for p in network.parameters()):
        raise ValueError("network: a layer has a frozen parameter; all must be trained.")
    if any(len({p.dtype for p in parameters}) > 1 for parameters in owned.values()):
        raise ValueError("network: a layer has several dtypes; each layer must have one.")
    return list(owned)
