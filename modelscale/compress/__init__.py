"""Smaller and faster copies of a trained network: quantised, pruned, factored, distilled."""

from ..models import counted_flops as forward_flops
from .cost import model_bytes
from .distil import distil
from .int8 import Int8Linear, int8
from .low_rank import low_rank
from .prune import SparseLinear, prune, sparse
from .quantise import quantise, round_trip, scales

__all__ = [
    "Int8Linear",
    "SparseLinear",
    "distil",
    "forward_flops",
    "int8",
    "low_rank",
    "model_bytes",
    "prune",
    "quantise",
    "round_trip",
    "scales",
    "sparse",
]
