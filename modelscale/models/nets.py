"""Multilayer perceptrons and conv nets, of signals and of images; a perceptron of experts.

Legend: B batch, C channels (`d_model`), F hidden width of an expert.
"""

import math
from itertools import pairwise

from torch import nn
from torch.nn import functional as F

from .. import check, count
from ..count.nets import KERNEL, POOL
from .experts import Mixture, weigh_balance


class MLP(nn.Module):
    """Linear layers with ReLU between: (B, n_in) -> (B, n_out)."""

    def __init__(self, shape: count.MLP):
        super().__init__()
        self.shape = shape
        sizes = zip(shape.sizes[:-1], shape.sizes[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in sizes)
        _init_he(*self.layers[:-1])
        _init_head(self.layers[-1])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class ResidualMLP(nn.Module):
    """The same linear layers, each but the first and last with a shortcut around it."""

    def __init__(self, shape: count.MLP):
        super().__init__()
        self.shape = shape
        self.stem = nn.Linear(shape.n_in, shape.width)
        self.blocks = nn.ModuleList(ResidualBlock(shape.width) for _ in range(shape.depth - 1))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.n_out)
        _init_he(self.stem)
        _init_head(self.head)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(F.relu(self.norm(x)))


class ResidualBlock(nn.Module):
    """h + Linear(relu(LayerNorm(h))): (B, width) -> (B, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        _init_he(self.linear)

    def forward(self, h):
        return h + self.linear(F.relu(self.norm(h)))


class ConvNet(nn.Module):
    """1-D convolutions with ReLU, then one linear head: (B, n_in) -> (B, n_out)."""

    def __init__(self, shape: count.ConvNet):
        super().__init__()
        self.shape = shape
        layers = zip(shape.channels[:-1], shape.channels[1:], shape.strides, strict=True)
        padding = shape.kernel // 2
        self.convs = nn.ModuleList(
            nn.Conv1d(c_in, c_out, shape.kernel, stride, padding) for c_in, c_out, stride in layers
        )
        self.head = nn.Linear(shape.n_features, shape.n_out)
        _init_he(*self.convs)
        _init_head(self.head)

    def forward(self, x):
        x = x.unsqueeze(1)  # (B, n_in) -> (B, 1, n_in)
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.head(x.flatten(1))  # (B, width, length) -> (B, width * length)


class ConvNet2d(nn.Module):
    """2-D convolutions, each pooled, then one linear head: (B, 1, size, size) -> (B, n_out)."""

    def __init__(self, shape: count.ConvNet2d):
        super().__init__()
        self.shape = shape
        self.convs = nn.ModuleList(
            nn.Conv2d(c_in, c_out, KERNEL, padding=KERNEL // 2)
            for c_in, c_out in pairwise(shape.channels)
        )
        self.head = nn.Linear(shape.n_features, shape.n_out)
        _init_he(*self.convs)
        _init_head(self.head)

    def forward(self, x):
        for conv in self.convs:
            # the largest, then the ReLU: the same as the other way round, on a quarter as many
            x = F.relu(F.max_pool2d(conv(x), POOL))
        return self.head(x.flatten(1))  # (B, channels, size, size) -> (B, n_features)


class MixtureMLP(nn.Module):
    """A stem, blocks h + MLP(LayerNorm(h)), norm and head: (B, n_in) -> (B, n_out).

    Above one expert, each MLP is a `Mixture`.
    """

    def __init__(self, shape: count.MixtureMLP):
        super().__init__()
        self.shape = shape
        self.stem = nn.Linear(shape.n_in, shape.d_model)
        self.blocks = nn.ModuleList(_ExpertBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.d_model)
        self.head = nn.Linear(shape.d_model, shape.n_out)
        _init_he(self.stem)
        _init_head(self.head)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))

    def for_training(self, recompute: str = "none", balance: float = 0.0) -> "MixtureMLP":
        """This network, told how much its mixtures' balance loss weighs."""
        remedy = "of the networks of the course, a GPT alone recomputes"
        check.one_of("recompute", recompute, ("none",), remedy)
        weigh_balance(self, balance)
        return self


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


def _init_he(*layers, gain=2.0):
    """Draw weights as He 2015: with ReLU, signals keep their size in a deep plain net."""
    for layer in layers:
        fan_in = layer.weight[0].numel()
        nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in))
        nn.init.zeros_(layer.bias)


def _init_head(layer):
    """Draw the weights of a layer that no ReLU follows."""
    _init_he(layer, gain=1.0)
