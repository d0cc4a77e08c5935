"""Linear maps computed in 8-bit integers by the processor's own kernels.

Weights are rounded once, activations at each call ("dynamic" quantisation). torch calls the
kernels deprecated; this file is the one place that knows them.
"""

import warnings

import torch
from torch import Tensor, nn

from .. import check
from .layers import linear, replaced

DEPRECATED = "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized"


def int8(model: nn.Module) -> nn.Module:
    """A copy of `model` whose linear maps are computed in integers: 8 bits of weight, 7 of input.

    Convolutions and a head tied to the embedding stay in float32. For evaluation on a CPU; on ARM
    the inputs have 8 bits.

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


class _Int8Linear(nn.Module):
    """x W^T + b with W in 8 bits: (..., n_in) -> (..., n_out)."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weight = layer.weight.detach()
        step = weight.abs().amax(1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny) / 127
        self.out_features = len(weight)
        self.register_buffer("weight", (weight / step).round().to(torch.int8))
        self.register_buffer("step", step.flatten())
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone()
        self.bias = nn.Parameter(bias, requires_grad=False)
        self._packed = None  # in the kernel's own order, not in the state dict
        self.register_load_state_dict_post_hook(_unpack)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is None:
            self._packed = _pack(self.weight, self.step, self.bias)
        # Without dot-product instructions (AVX2) the kernels add pairs of products in 16 bits,
        # which overflow silently. Inputs of 7 bits cannot: 2 x 127 x 127 < 2^15. QNNPACK (ARM)
        # adds in 32 bits and takes 8 bits whatever it is asked for.
        seven_bits = torch.backends.quantized.engine != "qnnpack"
        return torch.ops.quantized.linear_dynamic(x, self._packed, seven_bits)

    def flops(self, x: Tensor) -> int:
        """Integer operations for this input, counted as the float32 map's FLOPs."""
        return 2 * x.numel() * len(self.weight)

    def __getstate__(self):
        return self.__dict__ | {"_packed": None}  # a copy packs its own


def _unpack(layer, _):
    """Forget the packed weights: others were loaded."""
    layer._packed = None


def _pack(weight, step, bias):
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=DEPRECATED)
        values = weight * step[:, None]
        rounded = torch.quantize_per_channel(values, step.double(), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, bias.detach())
