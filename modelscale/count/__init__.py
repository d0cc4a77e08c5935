"""Closed forms: the parameters, FLOPs and bytes of a network before it exists. No torch in here.

A shape (`MLP`, `ConvNet`, `Transformer`, ...) says all about a network but its weights: these
modules count with it, and `modelscale.models.build` makes the network.
"""

from .communication import sent_bytes, tensor_parallel_bytes
from .memory import activation_bytes, saved_bytes, state_bytes
from .nets import MLP, ConvNet, ConvNet2d, MixtureMLP, mlp_params
from .transformer import Transformer

__all__ = [
    "MLP",
    "ConvNet",
    "ConvNet2d",
    "MixtureMLP",
    "Transformer",
    "activation_bytes",
    "mlp_params",
    "saved_bytes",
    "sent_bytes",
    "state_bytes",
    "tensor_parallel_bytes",
]
