"""Where the units of a network stand in its parameters: neurons, channels, heads.

Every unit is made by some entries (rows of a weight, a bias) and read by others (columns of the
next weight). Growing copies both, and shares out what is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import check, models

WB = ("weight", "bias")


@dataclass(frozen=True)
class Take:
    """Entries of an old parameter: columns that read units, or rows that make them."""

    reads: bool
    entries: Tensor  # positions in the old parameter, one for each in the new
    share: Tensor  # one over the number of copies, for each; 0 of a fresh unit

    def of(self, old: Tensor) -> Tensor:
        """These entries of an old parameter, or of a moment of it."""
        return old.index_select(int(self.reads), self.entries.to(old.device))

    def shares(self, taken: Tensor) -> Tensor:
        """The share of each entry, shaped to be multiplied with what was taken."""
        sizes = [1] * taken.dim()
        sizes[self.reads] = -1
        return self.share.to(taken).view(sizes)


@dataclass(frozen=True)
class _Site:
    """The entries of one parameter that belong to a group of units."""

    name: str  # of the parameter
    reads: bool = False  # columns that read the units; otherwise rows that make them
    block: int = 1  # neighbouring entries of one unit
    sections: int = 1  # how often the row of all units is repeated, as queries, keys, values


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
            every = torch.arange(site.sections * self.n * site.block)
            entries = every.view(site.sections, self.n, site.block)[:, units].flatten()
            shares = share.repeat_interleave(site.block).repeat(site.sections)
            yield site.name, Take(site.reads, entries, shares)


def groups(model) -> list[Group]:
    """The groups of units of a network of this package, from input to output."""
    if type(model) not in GROUPS:
        allowed = " or ".join(kind.__name__ for kind in GROUPS)
        check.refuse("model", type(model).__name__, allowed, "build it with models.build(shape)")
    names = dict(model.named_parameters())  # a network without biases lacks some
    return [
        replace(group, sites=tuple(site for site in group.sites if site.name in names))
        for group in GROUPS[type(model)](model.shape)
    ]


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
    last = _Site("head.weight", True, block=shape.lengths[-1])
    yield Group("width", shape.width, (*_sites(f"convs.{shape.depth - 1}"), last))


def _gpt(shape):
    remedy = "experts are not grown here; grow a dense GPT"
    check.integer("n_expert", shape.n_expert, high=1, remedy=remedy)
    for i in range(shape.n_layer):
        attention, mlp = f"blocks.{i}.attention", f"blocks.{i}.mlp"
        if shape.kv_heads == shape.n_head:
            qkv = [_Site(f"{attention}.qkv.{p}", block=shape.head_size, sections=3) for p in WB]
            out = _Site(f"{attention}.out.weight", True, shape.head_size)
            yield Group("n_head", shape.n_head, (*qkv, out))
        up = [_Site(f"{mlp}.up.{p}", sections=2 if shape.gated_mlp else 1) for p in WB]
        yield Group("d_ff", shape.ff_width, (*up, _Site(f"{mlp}.down.weight", True)))


def _sites(maker, reader=None):
    """The entries of a layer that makes the units and of one that reads them."""
    made = [_Site(f"{maker}.{p}") for p in WB]
    return (*made, _Site(f"{reader}.weight", True)) if reader else tuple(made)


GROUPS = {
    models.MLP: _mlp,
    models.ResidualMLP: _residual_mlp,
    models.ConvNet: _conv_net,
    models.GPT: _gpt,
}
