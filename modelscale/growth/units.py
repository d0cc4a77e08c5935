"""Where the units of a network stand in its parameters: neurons, channels, heads.

Every unit is made by some entries (rows of a weight, a bias) and read by others (columns of the
next weight). Growing copies both, and shares out what is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import check, models


@dataclass(frozen=True)
class Take:
    """Entries of an old parameter, taken along one dimension."""

    dim: int
    entries: Tensor  # positions in the old parameter, one for each in the new
    share: Tensor  # one over the number of copies, for each; 0 of a fresh unit
    reads: bool  # weights that read the units; otherwise they make them


@dataclass(frozen=True)
class _Site:
    """The entries of one parameter that belong to a group of units."""

    name: str  # of the parameter
    dim: int  # the dimension along which the units stand
    reads: bool = False  # these entries read the units; otherwise they make them
    block: int = 1  # neighbouring entries of one unit
    sections: int = 1  # how often the row of all units is repeated, as queries, keys, values

    def entries(self, units: Tensor, n: int) -> Tensor:
        """The positions along `dim` of these units, of a group of n."""
        rows = units[:, None] * self.block + torch.arange(self.block)
        starts = n * self.block * torch.arange(self.sections)
        return (starts[:, None] + rows.flatten()).flatten()


@dataclass(frozen=True)
class Group:
    """Units that can be exchanged with one another: the neurons of one layer, say."""

    dial: str  # the field of the shape that counts them
    n: int
    sites: tuple[_Site, ...]
    normed: bool = False  # a layer norm takes its mean and variance over them

    def takes(self, units: Tensor, share: Tensor) -> Iterator[tuple[str, Take]]:
        """(parameter, what is taken of it) wherever these units stand; `share` is one a unit."""
        for site in self.sites:
            shares = share.repeat_interleave(site.block).repeat(site.sections)
            yield site.name, Take(site.dim, site.entries(units, self.n), shares, site.reads)


def groups(model) -> list[Group]:
    """The groups of units of a network of this package, from input to output.

    Raises: ValueError for any other network.
    """
    if find := GROUPS.get(type(model)):
        names = dict(model.named_parameters())  # a network without biases lacks some
        return [
            replace(group, sites=tuple(site for site in group.sites if site.name in names))
            for group in find(model.shape)
        ]
    raise ValueError(
        f"model is of class {type(model).__name__}: it must be an MLP, ResidualMLP, ConvNet or GPT"
        " of modelscale.models. Build one with models.build(shape)."
    )


def _mlp(shape):
    for i in range(shape.depth):
        yield Group("width", shape.width, _sites(f"layers.{i}", f"layers.{i + 1}"))


def _residual_mlp(shape):
    sites = [*_sites("stem", "head"), *_sites("norm")]
    for i in range(shape.depth - 1):
        block = f"blocks.{i}"
        sites += [*_sites(f"{block}.norm"), *_sites(f"{block}.linear", f"{block}.linear")]
    yield Group("width", shape.width, tuple(sites), normed=True)


def _conv_net(shape):
    for i in range(shape.depth - 1):
        yield Group("width", shape.width, _sites(f"convs.{i}", f"convs.{i + 1}"))
    # the head reads each channel at every position
    last = _Site("head.weight", 1, True, block=shape.lengths[-1])
    yield Group("width", shape.width, (*_sites(f"convs.{shape.depth - 1}"), last))


def _gpt(shape):
    remedy = "experts are not grown here; grow a dense GPT"
    check.integer("n_expert", shape.n_expert, high=1, remedy=remedy)
    for i in range(shape.n_layer):
        attention, mlp = f"blocks.{i}.attention", f"blocks.{i}.mlp"
        if shape.kv_heads == shape.n_head:
            qkv = [_Site(f"{attention}.qkv.{p}", 0, False, shape.head_size, 3) for p in WB]
            out = _Site(f"{attention}.out.weight", 1, True, shape.head_size)
            yield Group("n_head", shape.n_head, (*qkv, out))
        up = [_Site(f"{mlp}.up.{p}", 0, sections=2 if shape.gated_mlp else 1) for p in WB]
        yield Group("d_ff", shape.ff_width, (*up, _Site(f"{mlp}.down.weight", 1, True)))


def _sites(maker, reader=None):
    """The entries of a layer that makes the units and of one that reads them."""
    made = _Site(f"{maker}.weight", 0), _Site(f"{maker}.bias", 0)
    return (*made, _Site(f"{reader}.weight", 1, True)) if reader else made


WB = ("weight", "bias")
GROUPS = {
    models.MLP: _mlp,
    models.ResidualMLP: _residual_mlp,
    models.ConvNet: _conv_net,
    models.GPT: _gpt,
}
