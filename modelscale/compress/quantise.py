"""Weights of few bits: rounded, and in half precision.

What rounding does to the clock is another question, see `int8`.
"""

import copy

import torch
from torch import Tensor, nn

from .. import check
from .layers import weighted


def quantise(model: nn.Module, bits: int = 8, per: str = "channel") -> nn.Module:
    """A copy of `model` whose linear maps and convolutions have weights of `bits` bits.

    `per` "channel" has a step for each output, "tensor" one for a layer. The largest weight falls
    on the largest value, 2^(bits - 1) - 1; zero stays zero. Norms, biases, embeddings and a head
    tied to one stay. The values are rounded but still stored and computed in float32: the accuracy
    is that of `bits` bits, the time is not.

    Source: Krishnamoorthi 2018 (Quantizing deep convolutional networks), section 2.
    """
    remedy = "one bit leaves zero alone, and above 8 nothing is lost that float32 would show"
    check.integer("bits", bits, 2, 8, remedy)
    check.one_of("per", per, ("channel", "tensor"))
    new = copy.deepcopy(model)
    with torch.no_grad():
        for layer in weighted(new).values():
            step = _step(layer.weight, bits, per)
            layer.weight.copy_((layer.weight / step).round() * step)
    return new


class InHalf(nn.Module):
    """A copy of a network in bfloat16, for inputs and outputs in float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.bfloat16()).float()


def _step(weight, bits, per):
    """The step between neighbouring values: (n_out, ...) -> (n_out, 1, ...), or all 1."""
    dims = tuple(range(1 if per == "channel" else 0, weight.dim()))
    largest = weight.abs().amax(dims, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return largest / (2 ** (bits - 1) - 1)
