"""Smaller and faster copies of a trained network: quantised, pruned, factored, distilled."""

from .cost import forward_s, model_bytes
from .distil import distil
from .int8 import int8
from .low_rank import low_rank
from .prune import prune, sparse
from .quantise import InHalf, quantise

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
