"""Multilayer perceptrons and conv nets, of signals and of images; a perceptron of experts.

Legend: B batch, C channels (`d_model`), F hidden width of an expert.
"""

import math
from itertools import pairwise

from torch import nn
from torch.nn import functional as F

from .. import count
from ..count.nets import KERNEL, POOL
from .experts import Mixture


class MLP(nn.Module):
    """Linear layers with ReLU between: (B, n_in) -> (B, n_out)."""

    def __init__(self, shape: count.MLP):
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise(shape.sizes))
        _init_he(*self.layers[:-1])
        _init_head(self.layers[-1])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class _Residual(nn.Module):
    """A stem, `n` blocks h + layers(LayerNorm(h)), a last norm, a head: (B, n_in) -> (B, n_out)."""

    def __init__(self, shape, width, block, n):
        super().__init__()
        self.shape = shape
        self.stem = nn.Linear(shape.n_in, width)
        self.blocks = nn.ModuleList(block(shape) for _ in range(n))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, shape.n_out)
        _init_he(self.stem)
        _init_head(self.head)

    def features(self, x):
        """What the head reads, but for its ReLU: (B, n_in) -> (B, width)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class ResidualMLP(_Residual):
    """The linear layers of an `MLP`, each but the first and last with a shortcut around it."""

    def __init__(self, shape: count.MLP):
        super().__init__(shape, shape.width, _ResidualBlock, shape.depth - 1)

    def forward(self, x):
        return self.head(F.relu(self.features(x)))


class _ResidualBlock(nn.Module):
    """h + Linear(relu(LayerNorm(h))): (B, width) -> (B, width)."""

    def __init__(self, shape):
        super().__init__()
        self.norm = nn.LayerNorm(shape.width)
        self.linear = nn.Linear(shape.width, shape.width)
        _init_he(self.linear)

    def forward(self, h):
        return h + self.linear(F.relu(self.norm(h)))


class MixtureMLP(_Residual):
    """Blocks h + MLP(LayerNorm(h)), each MLP a `Mixture` above one expert."""

    def __init__(self, shape: count.MixtureMLP):
        super().__init__(shape, shape.d_model, _ExpertBlock, shape.depth)

    def forward(self, x):
        return self.head(self.features(x))


class _ExpertBlock(nn.Module):
    """h + MLP(LayerNorm(h)), the MLP one of experts or alone: (B, C) -> (B, C)."""

    def __init__(self, shape):
        super().__init__()
        self.norm = nn.LayerNorm(shape.d_model)
        experts = [_expert(shape) for _ in range(shape.n_expert)]
        self.mlp = Mixture(shape, experts) if shape.n_expert > 1 else experts[0]

    def forward(self, h):
        return h + self.mlp(self.norm(h))


def _expert(shape):
    """ReLU between two linear maps: (B, C) -> (B, F) -> (B, C)."""
    up, down = nn.Linear(shape.d_model, shape.d_ff), nn.Linear(shape.d_ff, shape.d_model)
    _init_he(up)
    _init_head(down)
    return nn.Sequential(up, nn.ReLU(), down)


class _Convs(nn.Module):
    """`convs`, then one linear head."""

    def __init__(self, shape, convs):
        super().__init__()
        self.shape = shape
        self.convs = nn.ModuleList(convs)
        self.head = nn.Linear(shape.n_features, shape.n_out)
        _init_he(*self.convs)
        _init_head(self.head)


class ConvNet(_Convs):
    """1-D convolutions with ReLU, then one linear head: (B, n_in) -> (B, n_out)."""

    def __init__(self, shape: count.ConvNet):
        channels, k = pairwise(shape.channels), shape.kernel
        layers = zip(channels, shape.strides, strict=True)
        super().__init__(shape, (nn.Conv1d(*c, k, stride, k // 2) for c, stride in layers))

    def forward(self, x):
        x = x.unsqueeze(1)  # (B, n_in) -> (B, 1, n_in)
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.head(x.flatten(1))  # (B, width, length) -> (B, width * length)


class ConvNet2d(_Convs):
    """2-D convolutions, each pooled, then one linear head: (B, 1, size, size) -> (B, n_out)."""

    def __init__(self, shape: count.ConvNet2d):
        channels = pairwise(shape.channels)
        super().__init__(shape, (nn.Conv2d(*c, KERNEL, padding=KERNEL // 2) for c in channels))

    def forward(self, x):
        for conv in self.convs:
            # the largest, then the ReLU: the same as the other way round, on a quarter as many
            x = F.relu(F.max_pool2d(conv(x), POOL))
        return self.head(x.flatten(1))  # (B, channels, size, size) -> (B, n_features)


def _init_he(*layers, gain=2.0):
    """Draw weights as He 2015: with ReLU, signals keep their size in a deep plain net."""
    for layer in layers:
        fan_in = layer.weight[0].numel()
        nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in))
        nn.init.zeros_(layer.bias)


def _init_head(layer):
    """Draw the weights of a layer that no ReLU follows."""
    _init_he(layer, gain=1.0)
