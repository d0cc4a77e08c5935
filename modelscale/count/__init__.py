"""Closed forms: the parameters, FLOPs and bytes of a network before it exists. No torch in here.

A shape (`MLP`, `ConvNet`, `Transformer`) says all about a network but its weights: these modules
count with it, and `modelscale.models.build` makes the network.
"""

from .memory import activation_bytes, kv_cache_bytes, saved_bytes, state_bytes
from .nets import MLP, ConvNet, conv_params, linear_params, mlp_params, norm_params
from .transformer import Transformer, mfu

__all__ = [
    "MLP",
    "ConvNet",
    "Transformer",
    "activation_bytes",
    "conv_params",
    "kv_cache_bytes",
    "linear_params",
    "mfu",
    "mlp_params",
    "norm_params",
    "saved_bytes",
    "state_bytes",
]
