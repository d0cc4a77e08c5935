"""The networks of the course, each built from its shape in `modelscale.count`."""

import torch
from torch import nn

from .. import check, count
from .cache import Cache
from .experts import Mixture
from .flops import counted_flops, one_sample
from .gpt import GPT, Attention, FeedForward
from .nets import MLP, ConvNet, ConvNet2d, MixtureMLP, ResidualMLP

__all__ = [
    "GPT",
    "MLP",
    "Attention",
    "Cache",
    "ConvNet",
    "ConvNet2d",
    "FeedForward",
    "Mixture",
    "MixtureMLP",
    "ResidualMLP",
    "build",
    "counted_flops",
    "one_sample",
]

_CLASSES = {
    count.MLP: MLP,
    count.MixtureMLP: MixtureMLP,
    count.ConvNet: ConvNet,
    count.ConvNet2d: ConvNet2d,
    count.Transformer: GPT,
}


def build(shape, seed: int = 0) -> nn.Module:
    """The network of this shape, its weights drawn from `seed`; the global random state stays."""
    check.integer("seed", seed, low=0)
    if type(shape) not in _CLASSES:
        kinds = ", ".join(f"count.{kind.__name__}" for kind in _CLASSES)
        check.refuse("shape", shape, f"a {kinds}", "make one, as in count.MLP(depth=2, width=100)")
    network = ResidualMLP if getattr(shape, "residual", False) else _CLASSES[type(shape)]
    # On the CPU alone, so that a model starts from the same weights on every device.
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return network(shape)
