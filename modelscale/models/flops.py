"""FLOPs of any network, read off torch's counter. Nothing is computed.

The counter watches a copy without numbers, on the meta device.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .. import check


def counted_flops(model: nn.Module, x: torch.Tensor, training: bool = False) -> int:
    """FLOPs of the matrix products of `model(x)`, or of a whole training step on inputs like `x`.

    What is frozen has no weight gradient, and below the first trained parameter there is no
    backward pass at all. Attention counts over all pairs of tokens, the hidden ones too. A layer
    that torch cannot count, of integers or stored sparsely, says its own: `flops(x)`.
    """
    stated = []
    ghost = _without_numbers(model, stated)
    # Fused attention on a CPU is no operation that torch counts; the plain one is.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        with torch.set_grad_enabled(training):
            y = ghost(x.to("meta"))
        if training:
            labels = torch.zeros(y.shape[:-1], dtype=torch.long, device="meta")
            F.cross_entropy(y.flatten(0, -2), labels.flatten()).backward()
    return counter.get_total_flops() + sum(stated)


def train_flops(model: nn.Module, samples: int) -> int:
    """FLOPs of the matrix products in training `model` on `samples` samples, repeats counted.

    What is frozen costs less; `History.flops`, in contrast, counts each step of a shape in full.
    The sample of a GPT is one full context; of a tail, one sample's features, which are not counted
    themselves.

    Raises: ValueError if `samples` is not a whole number of at least 1.
    """
    check.integer("samples", samples)
    if hasattr(model.shape, "training_flops"):  # a tail, which knows its own
        return samples * model.shape.training_flops
    return samples * counted_flops(model, one_sample(model.shape), training=True)


def one_sample(shape) -> torch.Tensor:
    """One input of a network of this shape, all zeros: (1, ...)."""
    if hasattr(shape, "context"):
        return torch.zeros(1, shape.context, dtype=torch.long)
    size = (1, shape.size, shape.size) if hasattr(shape, "size") else (shape.n_in,)
    return torch.zeros(1, *size)


class _Stated(nn.Module):
    """In the place of a layer that says its FLOPs itself and cannot run without numbers."""

    def __init__(self, layer, stated):
        super().__init__()
        self.layer, self.stated = layer, stated

    def forward(self, x):
        self.stated.append(self.layer.flops(x))
        return x.new_empty(*x.shape[:-1], self.layer.out_features)


def _without_numbers(model, stated):
    ghost = nn.Sequential(copy.deepcopy(model))
    for parent in list(ghost.modules()):
        for name, layer in list(parent.named_children()):
            if hasattr(layer, "flops"):
                parent._modules[name] = _Stated(layer, stated)
    return ghost.to("meta")
