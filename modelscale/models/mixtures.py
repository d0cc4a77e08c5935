"""A multilayer perceptron of experts: the MLP half of a transformer, for signals.

Legend: B batch, C channels (`d_model`), F hidden width of an expert, E experts.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .. import check, count
from .experts import Mixture
from .nets import init_he, init_head


class MixtureMLP(nn.Module):
    """A stem, blocks h + MLP(LayerNorm(h)), norm and head: (B, n_in) -> (B, n_out).

    Above one expert, each MLP is a `Mixture`. `expert_load` tells who gets how much.

    Taught in: 07_efficiency.
    """

    def __init__(self, shape: count.MixtureMLP):
        super().__init__()
        self.shape = shape
        self.stem = nn.Linear(shape.n_in, shape.d_model)
        self.blocks = nn.ModuleList(ExpertBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.d_model)
        self.head = nn.Linear(shape.d_model, shape.n_out)
        init_he(self.stem)
        init_head(self.head)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))

    def for_training(self, recompute: str = "none", balance: float = 0.0) -> "MixtureMLP":
        """This network, told how much its mixtures' balance loss weighs.

        Raises: ValueError for recomputation, which it has not, or a `balance` below 0.
        """
        remedy = "of the networks of the course, a GPT alone recomputes"
        check.one_of("recompute", recompute, ("none",), remedy)
        check.number("balance", balance, above=False)
        for block in self.blocks if self.shape.n_expert > 1 else ():
            block.mlp.balance = balance
        return self


class ExpertBlock(nn.Module):
    """h + MLP(LayerNorm(h)), the MLP one of experts or alone: (B, C) -> (B, C)."""

    def __init__(self, shape: count.MixtureMLP):
        super().__init__()
        self.norm = nn.LayerNorm(shape.d_model)
        experts = [Expert(shape) for _ in range(shape.n_expert)]
        self.mlp = Mixture(shape, experts) if shape.n_expert > 1 else experts[0]

    def forward(self, h):
        return h + self.mlp(self.norm(h))


class Expert(nn.Module):
    """ReLU between two linear maps: (B, C) -> (B, F) -> (B, C)."""

    def __init__(self, shape: count.MixtureMLP):
        super().__init__()
        self.up = nn.Linear(shape.d_model, shape.d_ff)
        self.down = nn.Linear(shape.d_ff, shape.d_model)
        init_he(self.up)
        init_head(self.down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.relu(self.up(x)))
