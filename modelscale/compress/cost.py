"""What a compressed network costs: bytes of its weights, FLOPs of its forward pass."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .int8 import Int8Linear
from .prune import SparseLinear


def model_bytes(model) -> int:
    """Bytes of parameters and buffers as they are stored, shared ones once.

    A pruned network has as many as before, unless `sparse` stores it.
    """
    tensors = model.state_dict().values()
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


@torch.inference_mode()
def forward_flops(model, x) -> int:
    """FLOPs of the matrix products of `model(x)`, integer and sparse ones included.

    The products of attention are counted over all pairs of tokens, the hidden ones too.
    Taught in: 07_efficiency.
    """
    extra = []

    def note(module, args):
        miscounted = module.dense_flops(args[0]) if isinstance(module, SparseLinear) else 0
        extra.append(module.flops(args[0]) - miscounted)

    special = (m for m in model.modules() if isinstance(m, Int8Linear | SparseLinear))
    hooks = [module.register_forward_pre_hook(note) for module in special]
    try:
        # Fused attention on a CPU is no operation that torch counts; the plain one is.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() + sum(extra)
