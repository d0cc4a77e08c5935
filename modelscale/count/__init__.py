"""Closed forms: the parameters, FLOPs and bytes of a network before it exists. No torch in here.

A shape (`MLP`, `MixtureMLP`, `ConvNet`, ...) says all about a network but its weights:
these modules count with it, and `modelscale.models.build` makes the network.
"""

from .communication import sent_bytes, tensor_parallel_bytes
from .generation import generate_flops
from .memory import (
    activation_bytes,
    kv_cache_bytes,
    recompute_peak_bytes,
    saved_bytes,
    state_bytes,
)
from .nets import MLP, ConvNet, conv_params, linear_params, mlp_params, norm_params
from .shapes import ConvNet2d, MixtureMLP
from .transformer import Transformer, mfu

__all__ = [
    "MLP",
    "ConvNet",
    "ConvNet2d",
    "MixtureMLP",
    "Transformer",
    "activation_bytes",
    "conv_params",
    "generate_flops",
    "kv_cache_bytes",
    "linear_params",
    "mfu",
    "mlp_params",
    "norm_params",
    "recompute_peak_bytes",
    "saved_bytes",
    "sent_bytes",
    "state_bytes",
    "tensor_parallel_bytes",
]
