"""Every form in which notebook 07 runs a network, by what is done to it before and after training.

Legend: n_in, n_out of a linear map.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from .. import check, count, growth, models
from .cost import model_bytes
from .int8 import int8
from .layers import weighted
from .low_rank import low_rank
from .prune import prune, sparse
from .quantise import quantise

METHODS = ("alone", "longer", "distilled", "narrowed", "low rank", "pruned", "experts")
STORED = ("float32", "bfloat16", "int8", "4 bits", "sparse")
DEPTH = 3  # hidden layers
BIG = 256  # neurons a layer of the network that is made smaller


@dataclass(frozen=True)
class Variant:
    """One network of the comparison: how it came to be, its size, and how it is stored and run.

    `method` "alone" is trained from scratch, "longer" for as many FLOPs as the big network took,
    "distilled" with a teacher; "narrowed", "low rank" and
    "pruned" are cut out of the big network and trained on. `size` is the number of neurons a layer,
    the rank, the share of weights cut, or the number of experts.

    Raises: ValueError for a method or a store that does not exist.
    Taught in: 07_efficiency.
    """

    method: str
    size: float
    stored: str = "float32"

    def __post_init__(self):
        check.one_of("method", self.method, METHODS)
        check.one_of("stored", self.stored, STORED)

    @property
    def name(self) -> str:
        """What a figure calls it: "narrowed 64", "alone 256, int8"."""
        size = f"{self.size:.0%}" if self.method == "pruned" else f"{self.size:g}"
        return f"{self.method} {size}" + ("" if self.stored == "float32" else f", {self.stored}")

    @property
    def shape(self):
        """The shape that training begins with."""
        if self.method == "experts":
            return count.MixtureMLP(depth=1, d_model=64, d_ff=128, n_expert=int(self.size))
        own = self.method in ("alone", "longer", "distilled")
        return count.MLP(DEPTH, int(self.size) if own else BIG)

    @property
    def is_cut(self) -> bool:
        """Whether it is made from a trained big network."""
        return self.method in ("narrowed", "low rank", "pruned")

    def cut(self, big: nn.Module) -> nn.Module:
        """The part of `big` that is kept: not yet trained on, not yet stored."""
        if self.method == "narrowed":
            return growth.narrow(big, width=int(self.size))
        if self.method == "low rank":
            return low_rank(big, int(self.size))
        return prune(big, self.size)

    def store(self, model: nn.Module) -> nn.Module:
        """`model` in the form in which it is kept and run: (B, n_in) -> (B, n_out), in float32.

        No processor of today's laptops multiplies by 4-bit weights: those are computed in float32.
        """
        if self.stored == "bfloat16":
            return InHalf(model)
        if self.stored == "int8":
            return int8(model)
        if self.stored == "4 bits":
            return quantise(model, 4)
        return sparse(model) if self.stored == "sparse" else model

    def stored_bytes(self, stored: nn.Module) -> int:
        """Bytes that `stored`, made by `store`, takes; 4-bit weights as two to a byte."""
        if self.stored != "4 bits":
            return model_bytes(stored)
        layers = weighted(stored).values()
        packed = sum(w.numel() // 2 + 4 * len(w) for w in (layer.weight for layer in layers))
        return packed + model_bytes(stored) - 4 * sum(layer.weight.numel() for layer in layers)

    def untrained(self, seed: int = 0) -> nn.Module:
        """A network as large and as fast as this variant, its weights drawn: for the clock."""
        model = models.build(self.shape, seed)
        return self.store(self.cut(model) if self.is_cut else model)


class InHalf(nn.Module):
    """A copy of a network in bfloat16, for inputs and outputs in float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.bfloat16()).float()
