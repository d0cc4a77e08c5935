"""FLOPs of any network, read off torch's counter. Nothing is computed.

The counter watches a copy without numbers, on the meta device.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_flops(model: nn.Module, x: torch.Tensor, training: bool = False) -> int:
    """FLOPs of the matrix products of `model(x)`, or of a whole training step on inputs like `x`.

    What is frozen has no weight gradient, and below the first trained parameter there is no
    backward pass at all; `History.flops`, in contrast, counts each step of a shape in full.
    Attention counts over all pairs of tokens, the hidden ones too. A layer that torch cannot
    count, of integers or stored sparsely, says its own: `flops(x)`.
    """
    ghost, stated = copy.deepcopy(model).to("meta"), []
    for layer in ghost.modules():
        if hasattr(layer, "flops"):
            layer.register_forward_hook(lambda layer, x, _: stated.append(layer.flops(*x)))
    # Fused attention on a CPU is no operation that torch counts; the plain one is.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        with torch.set_grad_enabled(training):
            y = ghost(x.to("meta"))
        if training:
            labels = torch.zeros(y.shape[:-1], dtype=torch.long, device="meta")
            F.cross_entropy(y.flatten(0, -2), labels.flatten()).backward()
    return counter.get_total_flops() + sum(stated)


def one_sample(shape) -> torch.Tensor:
    """One input of a network of this shape, all zeros: (1, ...)."""
    if hasattr(shape, "context"):
        return torch.zeros(1, shape.context, dtype=torch.long)
    size = (1, shape.size, shape.size) if hasattr(shape, "size") else (shape.n_in,)
    return torch.zeros(1, *size)
