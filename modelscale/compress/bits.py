"""Fewer bits a weight: rounded, in half precision, and computed with in integers.

torch calls its integer kernels deprecated; this file is the one place that knows them.
"""

import copy
import warnings

import torch
from torch import Tensor, nn

from .. import check
from .layers import linear, replaced, weighted

DEPRECATED = "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized"


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


def int8(model: nn.Module) -> nn.Module:
    """A copy of `model` whose linear maps are computed in integers: 8 bits of weight, 7 of input.

    Weights are rounded once, inputs at each call ("dynamic" quantisation), on ARM to 8 bits.
    Convolutions and a head tied to the embedding stay in float32. For evaluation on a CPU.

    Raises: ValueError for weights that are not float32 on a CPU, or where this build of torch has
    no such kernels.
    """
    if torch.backends.quantized.engine == "none":
        remedy = "take compress.quantise, which has the accuracy but not the speed"
        check.refuse("engine", "none", "fbgemm or qnnpack, which this torch lacks", remedy)
    layers = linear(model)
    for name, layer in layers.items():
        kind = f"{layer.weight.dtype} on {layer.weight.device.type}"
        remedy = "the kernels know no other: take int8(model.float().cpu())"
        check.one_of(f"{name}.weight", kind, ("torch.float32 on cpu",), remedy)
    return replaced(model, _Int8Linear, layers)


class InHalf(nn.Module):
    """A copy of a network in bfloat16, for inputs and outputs in float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.bfloat16()).float()


class _Int8Linear(nn.Module):
    """x W^T + b with W in 8 bits: (..., n_in) -> (..., n_out)."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weight = layer.weight.detach()
        step = _step(weight, 8, "channel")
        self.out_features = len(weight)
        self.register_buffer("weight", (weight / step).round().to(torch.int8))
        self.register_buffer("step", step.flatten())
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone()
        self.bias = nn.Parameter(bias, requires_grad=False)
        self._pack()
        self.register_load_state_dict_post_hook(_Int8Linear._pack)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:
            return x.new_empty(*x.shape[:-1], self.out_features)
        # Without dot-product instructions (AVX2) the kernels add pairs of products in 16 bits,
        # which overflow silently. Inputs of 7 bits cannot: 2 x 127 x 127 < 2^15. QNNPACK (ARM)
        # adds in 32 bits and takes 8 bits whatever it is asked for.
        seven_bits = torch.backends.quantized.engine != "qnnpack"
        return torch.ops.quantized.linear_dynamic(x, self._packed, seven_bits)

    def flops(self, x: Tensor) -> int:
        """Integer operations for this input, counted as the float32 map's FLOPs."""
        return 2 * x.numel() * len(self.weight)

    def _pack(self, _=None):
        """Bring the weights in the kernel's own order, which is not in the state dict."""
        zeros = torch.zeros(self.out_features, dtype=torch.long)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=DEPRECATED)
            values, steps = self.weight * self.step[:, None], self.step.double()
            rounded = torch.quantize_per_channel(values, steps, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, self.bias.detach())


def _step(weight, bits, per):
    """The step between neighbouring values: (n_out, ...) -> (n_out, 1, ...), or all 1."""
    dims = tuple(range(1 if per == "channel" else 0, weight.dim()))
    largest = weight.abs().amax(dims, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return largest / (2 ** (bits - 1) - 1)
