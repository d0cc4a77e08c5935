"""Smaller and faster copies of a trained network: quantised, pruned, factored, distilled."""

from .bits import InHalf, int8, quantise
from .cost import forward_s, model_bytes
from .distil import distil
from .weights import low_rank, prune, sparse

__all__ = [
    "InHalf",
    "distil",
    "forward_s",
    "int8",
    "low_rank",
    "model_bytes",
    "prune",
    "quantise",
    "sparse",
]
