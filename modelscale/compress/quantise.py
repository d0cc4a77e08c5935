"""Weights rounded to few bits, computed with in float32: what it does to the accuracy.

What it does to the clock is another question, see `int8`.
"""

import copy

import torch
from torch import Tensor

from .. import check
from .layers import weighted


def scales(weight: Tensor, bits: int, per: str = "channel") -> Tensor:
    """The step between neighbouring values, one for each output channel or one for all.

    The largest weight falls on the largest value, 2^(bits - 1) - 1; zero stays zero.

    Shapes: weight (n_out, ...) -> (n_out, 1, ...), or (1, 1, ...) for `per` "tensor".
    Raises: ValueError for bit widths other than 2 to 8, or another `per`.
    Source: Krishnamoorthi 2018 (Quantizing deep convolutional networks), section 2.
    """
    remedy = "one bit leaves zero alone, and above 8 nothing is lost that float32 would show"
    check.integer("bits", bits, 2, 8, remedy)
    check.one_of("per", per, ("channel", "tensor"))
    dims = tuple(range(1 if per == "channel" else 0, weight.dim()))
    largest = weight.abs().amax(dims, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return largest / (2 ** (bits - 1) - 1)


def round_trip(weight: Tensor, bits: int, per: str = "channel") -> Tensor:
    """`weight` rounded to `bits` bits and back: at most half a step away from what it was.

    Shapes: (n_out, ...) -> (n_out, ...).
    Raises: ValueError as `scales` does.
    Taught in: 07_efficiency.
    """
    step = scales(weight, bits, per)
    return (weight / step).round() * step


def quantise(model, bits: int = 8, per: str = "channel"):
    """A copy of `model` whose linear maps and convolutions have weights of `bits` bits.

    Norms, biases, embeddings and a head tied to one stay as they are. The values are rounded but
    still stored and computed in float32: the accuracy is that of `bits` bits, the time is not.

    Raises: ValueError as `scales` does.
    Taught in: 07_efficiency.
    """
    new = copy.deepcopy(model)
    with torch.no_grad():
        for layer in weighted(new).values():
            layer.weight.copy_(round_trip(layer.weight, bits, per))
    return new
