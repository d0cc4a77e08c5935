"""Multilayer perceptrons and conv nets, of signals and of images.

Legend: B batch.
"""

import math
from itertools import pairwise

from torch import nn
from torch.nn import functional as F

from .. import count
from ..count.shapes import KERNEL, POOL


class MLP(nn.Module):
    """Linear layers with ReLU between: (B, n_in) -> (B, n_out)."""

    def __init__(self, shape: count.MLP):
        super().__init__()
        self.shape = shape
        sizes = zip(shape.sizes[:-1], shape.sizes[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in sizes)
        init_he(*self.layers[:-1])
        init_head(self.layers[-1])

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
        init_he(self.stem)
        init_head(self.head)

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
        init_he(self.linear)

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
        init_he(*self.convs)
        init_head(self.head)

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
        init_he(*self.convs)
        init_head(self.head)

    def forward(self, x):
        for conv in self.convs:
            # the largest, then the ReLU: the same as the other way round, on a quarter as many
            x = F.relu(F.max_pool2d(conv(x), POOL))
        return self.head(x.flatten(1))  # (B, channels, size, size) -> (B, n_features)


def init_he(*layers, gain=2.0):
    """Nothing: draws weights as He 2015: with ReLU, signals keep their size in a deep plain net."""
    for layer in layers:
        fan_in = layer.weight[0].numel()
        nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in))
        nn.init.zeros_(layer.bias)


def init_head(layer):
    """Nothing: draws the weights of a layer that no ReLU follows."""
    init_he(layer, gain=1.0)
