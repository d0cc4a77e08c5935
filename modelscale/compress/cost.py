"""What a network costs as it is stored: its bytes, and the seconds of a forward pass.

Its FLOPs are those of `models.counted_flops`.
"""

import numpy as np
import torch
from torch import nn

from .. import timing


def model_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers as they are stored, shared ones once.

    A pruned network has as many as before, unless `sparse` stores it.
    """
    tensors = model.state_dict().values()
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


@torch.inference_mode()
def forward_s(models: dict, x: torch.Tensor, rounds: int = 20) -> dict[str, np.ndarray]:
    """{name: wall seconds of one forward pass on `x`, one a round}, all networks in turn."""
    ways = {name: lambda model=model: model(x) for name, model in models.items()}
    return timing.in_turn_s(ways, rounds, x.device)
