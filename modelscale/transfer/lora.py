"""LoRA: a frozen layer and, beside it, a product of two thin matrices that is trained.

Legend: r rank; A takes the layer's inputs down to r numbers, B takes them up to its outputs.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from .. import check
from .stages import freeze, stages

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def add_lora(model: nn.Module, rank: int, seed: int = 0) -> nn.Module:
    """A copy of `model` with adapters, everything else frozen but a classifier's head.

    Each linear map and convolution but the head gets one. The head of a GPT stays frozen: its task
    has not changed.

    Source: Hu 2021, section 4.
    """
    adapted = freeze(copy.deepcopy(model), 0).requires_grad_(False)  # refuses an adapted one
    generator = torch.Generator().manual_seed(check.integer("seed", seed, low=0))
    head = stages(model)[-1]
    for name, layer in list(adapted.named_modules()):
        if isinstance(layer, LAYERS) and name != head:
            adapted.set_submodule(name, _LoRA(layer, rank, generator), strict=True)
    if hasattr(model.shape, "n_out"):
        adapted.get_submodule(head).requires_grad_(True)
    return adapted


def merge(model: nn.Module) -> nn.Module:
    """A plain copy of `model`, each adapter added into its layer: the same outputs at no cost.

    Source: Hu 2021, section 4.1 (no additional inference latency).
    """
    merged = copy.deepcopy(model)
    adapters = {name: part for name, part in merged.named_modules() if isinstance(part, _LoRA)}
    check.integer("adapters of the model", len(adapters), remedy="call add_lora first")
    with torch.no_grad():
        for name, adapter in adapters.items():
            adapter.layer.weight += adapter.delta()
            merged.set_submodule(name, adapter.layer, strict=True)
    return merged.requires_grad_(True)


class _LoRA(nn.Module):
    """W x + B A x around a linear map or a convolution; W is frozen, alpha as large as the rank.

    B starts at zero, so the network starts as it was; A is drawn from a normal distribution
    (the paper gives no scale: 1 / sqrt(fan_in) here, so that signals keep their size). Beside a
    convolution A is one with `rank` channels and B a map of channels, one pixel at a time.

    Source: Hu 2021, section 4.1 and equation 3.
    """

    def __init__(self, layer: nn.Module, rank: int, generator):
        super().__init__()
        n_out, fan_in = layer.weight.flatten(1).shape
        remedy = f"a layer maps {fan_in} numbers to {n_out}; lower the rank"
        check.integer("rank", rank, 1, min(n_out, fan_in), remedy)
        self.layer = layer.requires_grad_(False)
        like = {"dtype": layer.weight.dtype, "device": layer.weight.device}
        first = torch.randn(rank, *layer.weight.shape[1:], generator=generator) / fan_in**0.5
        self.A = nn.Parameter(first.to(**like))
        self.B = nn.Parameter(torch.zeros(n_out, rank, *[1] * (layer.weight.dim() - 2), **like))

    def forward(self, x):
        if isinstance(self.layer, nn.Linear):
            change = F.linear(F.linear(x, self.A), self.B)
        else:
            conv = F.conv1d if isinstance(self.layer, nn.Conv1d) else F.conv2d
            low = conv(x, self.A, None, self.layer.stride, self.layer.padding)
            change = conv(low, self.B)
        return self.layer(x) + change

    def delta(self) -> torch.Tensor:
        """What merging adds to W, in W's shape."""
        return (self.B.flatten(1) @ self.A.flatten(1)).view_as(self.layer.weight)
