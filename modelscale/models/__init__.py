"""The networks of the course, each built from its shape in `modelscale.count`."""

import torch
from torch import nn

from .. import check, count
from .experts import Mixture, balance_loss, expert_load
from .flops import counted_flops, one_sample, train_flops
from .generate import Cache, generate
from .gpt import GPT, Attention, Block, FeedForward, rotary_table, rotate
from .mixtures import MixtureMLP
from .nets import MLP, ConvNet, ConvNet2d, ResidualBlock, ResidualMLP

__all__ = [
    "GPT",
    "MLP",
    "Attention",
    "Block",
    "Cache",
    "ConvNet",
    "ConvNet2d",
    "FeedForward",
    "Mixture",
    "MixtureMLP",
    "ResidualBlock",
    "ResidualMLP",
    "balance_loss",
    "build",
    "counted_flops",
    "expert_load",
    "generate",
    "one_sample",
    "rotary_table",
    "rotate",
    "train_flops",
]


def build(
    shape: count.MLP | count.MixtureMLP | count.ConvNet | count.ConvNet2d | count.Transformer,
    seed: int = 0,
) -> nn.Module:
    """The network of this shape, its weights drawn from `seed`; the global random state stays.

    Raises: ValueError for anything but a shape of `modelscale.count`.
    """
    check.integer("seed", seed, low=0)
    # On the CPU alone, so that a model starts from the same weights on every device.
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return _network_class(shape)(shape)


def _network_class(shape):
    if isinstance(shape, count.MLP):
        return ResidualMLP if shape.residual else MLP
    if isinstance(shape, count.MixtureMLP):
        return MixtureMLP
    if isinstance(shape, count.ConvNet):
        return ConvNet
    if isinstance(shape, count.ConvNet2d):
        return ConvNet2d
    if isinstance(shape, count.Transformer):
        return GPT
    raise ValueError(
        f"shape={shape!r}: it must be a count.MLP, MixtureMLP, ConvNet, ConvNet2d or Transformer."
        " Make one first, as in build(count.MLP(depth=2, width=100))."
    )
