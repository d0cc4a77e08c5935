"""What training costs when not all of a network is trained, read off torch's FLOP counter."""

import copy

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .. import check
from ..train.loop import cross_entropy


def train_flops(model: nn.Module, samples: int) -> int:
    """FLOPs of the matrix products in training `model` on `samples` samples, repeats counted.

    What is frozen has no weight gradient, and below the first trained parameter there is no
    backward pass at all; `History.flops`, in contrast, counts each step of a shape in full. Nothing
    is computed: the counter watches a copy without numbers (on the meta device). The sample of a
    GPT is one full context; of a tail, one sample's features, which are not counted themselves.

    Raises: ValueError if `samples` is not a whole number of at least 1, or for a mixture of
    experts, whose tokens choose their products as they go.
    Taught in: 05_transfer_learning.
    """
    check.integer("samples", samples)
    if hasattr(model.shape, "training_flops"):  # a tail, which knows its own
        return model.shape.train_flops(samples)
    remedy = "count a mixture of experts with shape.matmul_flops"
    check.integer("n_expert", getattr(model.shape, "n_expert", 1), high=1, remedy=remedy)
    return samples * sample_flops(model, one_sample(model.shape))


def one_sample(shape) -> torch.Tensor:
    """One input of a network of this shape, all zeros."""
    if hasattr(shape, "context"):
        return torch.zeros(shape.context, dtype=torch.long)
    size = (1, shape.size, shape.size) if hasattr(shape, "size") else (shape.n_in,)
    return torch.zeros(size)


def sample_flops(model: nn.Module, x: torch.Tensor, training: bool = True) -> int:
    """FLOPs of the matrix products for one sample like `x`: forward, or a whole training step."""
    ghost, x = copy.deepcopy(model).to("meta"), x[None].to("meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = ghost(x)
        if training:
            labels = torch.zeros(logits.shape[:-1], dtype=torch.long, device="meta")
            cross_entropy(logits, labels).backward()
    return counter.get_total_flops()
