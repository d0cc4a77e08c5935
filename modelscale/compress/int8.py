"""Linear maps computed in 8-bit integers by the processor's own kernels.

Weights are rounded once, activations at each call ("dynamic" quantisation). torch calls the
kernels deprecated; this file is the one place that knows them.
"""

import warnings

import torch
from torch import Tensor, nn

from .. import check
from .layers import linear, replaced
from .quantise import scales

# Without dot-product instructions (AVX2) the kernels add pairs of products in 16 bits, which
# overflow silently. Activations of 7 bits cannot: 2 x 127 x 127 < 2^15. QNNPACK (ARM) adds in 32
# bits and takes 8 bits whatever it is asked for.
ACTIVATION_VALUES = 127
ACTIVATION_VALUES_ARM = 255
DEPRECATED = "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized"


def int8(model):
    """A copy of `model` whose linear maps are computed in integers: 8 bits of weight, 7 of input.

    Convolutions and a head tied to the embedding stay in float32. For evaluation on a CPU; on ARM
    the inputs have 8 bits.

    Raises: ValueError without a linear map, for weights that are not float32 on a CPU, or where
    this build of torch has no such kernels.
    Taught in: 07_efficiency.
    """
    engines = [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]
    if not engines:
        raise ValueError(
            "int8: this build of torch has no engine for integers, it must have fbgemm or qnnpack."
            " Take compress.quantise, which has the accuracy but not the speed."
        )
    layers = linear(model)
    for name, layer in layers.items():
        kind = f"{layer.weight.dtype} on {layer.weight.device.type}"
        remedy = "the kernels know no other: take int8(model.float().cpu())"
        check.one_of(f"{name}.weight", kind, ("torch.float32 on cpu",), remedy)
    return replaced(model, lambda name, layer: Int8Linear(layer), layers)


class Int8Linear(nn.Module):
    """x W^T + b with W in 8 bits: (..., n_in) -> (..., n_out)."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weight = layer.weight.detach()
        self.out_features = len(weight)
        step = scales(weight, 8)
        self.register_buffer("weight", (weight / step).round().to(torch.int8))
        self.register_buffer("step", step.flatten())
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone()
        self.bias = nn.Parameter(bias, requires_grad=False)
        self._packed = None
        self.register_load_state_dict_post_hook(_unpack)

    def forward(self, x):
        if self._packed is None:  # in the kernel's own order, not in the state dict
            self._packed = _pack(self.weight, self.step, self.bias)
        return torch.ops.quantized.linear_dynamic(x, self._packed, not _on_arm())  # True: 7 bits

    def by_hand(self, x: Tensor) -> Tensor:
        """What `forward` computes, in plain integer arithmetic.

        The values of x are spread over 0 ... 127 (255 on ARM), with `zero` standing for 0.
        """
        most = ACTIVATION_VALUES_ARM if _on_arm() else ACTIVATION_VALUES
        low, high = x.min().clamp(max=0), x.max().clamp(min=0)
        step = (high - low) / most
        zero = (-low / step).round()
        rounded = ((x / step).round() + zero).clamp(0, most).to(torch.int32)
        product = (rounded - zero.to(torch.int32)).long() @ self.weight.long().mT
        return product * (step * self.step) + self.bias

    def flops(self, x: Tensor) -> int:
        """Integer operations for this input, counted as the float32 map's FLOPs."""
        return 2 * x.numel() * len(self.weight)

    def __deepcopy__(self, memo):
        twin = object.__new__(Int8Linear)
        nn.Module.__init__(twin)
        twin.out_features = self.out_features
        twin.register_buffer("weight", self.weight.clone())
        twin.register_buffer("step", self.step.clone())
        twin.bias, twin._packed = nn.Parameter(self.bias.clone(), requires_grad=False), None
        twin.register_load_state_dict_post_hook(_unpack)
        return twin


def _on_arm() -> bool:
    return torch.backends.quantized.engine == "qnnpack"


def _unpack(layer, _):
    """New weights were loaded: those packed before are out of date."""
    layer._packed = None


def _pack(weight, step, bias):
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=DEPRECATED)
        values = weight * step[:, None]
        rounded = torch.quantize_per_channel(values, step.double(), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, bias.detach())
