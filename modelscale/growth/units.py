"""Where the units of a network stand in its parameters: neurons, channels, heads.

Every unit is made by some entries (rows of a weight, a bias) and read by others (columns of the
next weight). Growing copies both, and shares out what is read.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import check, models


@dataclass(frozen=True)
class Site:
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
    sites: tuple[Site, ...]
    normed: bool = False  # a layer norm takes its mean and variance over them


def groups(model) -> list[Group]:
    """The groups of units of a network of this package, from input to output.

    Raises: ValueError for any other network.
    """
    for kind, find in GROUPS.items():
        if type(model) is kind:
            return [_present(group, model) for group in find(model.shape)]
    raise ValueError(
        f"model is of class {type(model).__name__}: it must be an MLP, ResidualMLP, ConvNet or GPT"
        " of modelscale.models. Build one with models.build(shape)."
    )


def _mlp(shape):
    for i in range(shape.depth):
        made = Site(f"layers.{i}.weight", 0), Site(f"layers.{i}.bias", 0)
        yield Group("width", shape.width, (*made, Site(f"layers.{i + 1}.weight", 1, True)))


def _residual_mlp(shape):
    sites = [Site("stem.weight", 0), Site("stem.bias", 0)]
    for i in range(shape.depth - 1):
        norm, linear = f"blocks.{i}.norm", f"blocks.{i}.linear"
        sites += [Site(f"{norm}.weight", 0), Site(f"{norm}.bias", 0), Site(f"{linear}.weight", 0)]
        sites += [Site(f"{linear}.weight", 1, True), Site(f"{linear}.bias", 0)]
    sites += [Site("norm.weight", 0), Site("norm.bias", 0), Site("head.weight", 1, True)]
    yield Group("width", shape.width, tuple(sites), normed=True)


def _conv_net(shape):
    for i in range(shape.depth):
        made = Site(f"convs.{i}.weight", 0), Site(f"convs.{i}.bias", 0)
        if i < shape.depth - 1:
            read = Site(f"convs.{i + 1}.weight", 1, True)
        else:  # the head reads each channel at every position
            read = Site("head.weight", 1, True, block=shape.lengths[-1])
        yield Group("width", shape.width, (*made, read))


def _gpt(shape):
    remedy = "experts are not grown here; grow a dense GPT"
    check.integer("n_expert", shape.n_expert, high=1, remedy=remedy)
    for i in range(shape.n_layer):
        attention, mlp = f"blocks.{i}.attention", f"blocks.{i}.mlp"
        if shape.kv_heads == shape.n_head:
            qkv = [Site(f"{attention}.qkv.{p}", 0, False, shape.head_size, 3) for p in WB]
            out = Site(f"{attention}.out.weight", 1, True, shape.head_size)
            yield Group("n_head", shape.n_head, (*qkv, out))
        up = [Site(f"{mlp}.up.{p}", 0, sections=2 if shape.gated_mlp else 1) for p in WB]
        yield Group("d_ff", shape.ff_width, (*up, Site(f"{mlp}.down.weight", 1, True)))


WB = ("weight", "bias")
GROUPS = {
    models.MLP: _mlp,
    models.ResidualMLP: _residual_mlp,
    models.ConvNet: _conv_net,
    models.GPT: _gpt,
}


def _present(group, model):
    """The group without the biases that this network does not have."""
    names = dict(model.named_parameters())
    sites = tuple(site for site in group.sites if site.name in names)
    return Group(group.dial, group.n, sites, group.normed)
