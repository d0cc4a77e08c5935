"""Checkers of 13_tensor_parallel, and the split that its lab takes apart."""

import torch
import torch.distributed as dist

from ..parallel import tensor
from . import exercise, letter


def colleagues_split(block: torch.nn.Module) -> torch.nn.Module:
    """`tensor.split` of `block` over all ranks as a colleague wrote it, who forgot something."""
    shared = tensor.split(block, dist.group.WORLD)
    shared.attention.qkv.enter = shared.mlp.up.enter = torch.clone
    return shared


check_forgotten_operator = letter(
    "ask where the wrong gradients begin, walking backward from the output.",
    right="b",
    wrong={
        "a": "then the output would be wrong, and it is equal.",
        "c": "the biases are still 0 here, so nothing would differ yet; after a step it would.",
        "d": "ranks that mix heads up would give another output.",
    },
)
check_tensor_parallel_traffic = exercise(
    "two all-reduces a layer forward, two backward, each of tokens x d_model numbers.",
    name="tensor_parallel_traffic",
    cases=[(2, 64, 128, 2, 4), (96, 12_288, 2_048, 8, 2), (24, 1_024, 4_096, 4, 2)],
    reference=lambda layers, d, tokens, p, size: layers * 8 * (p - 1) / p * tokens * d * size,
)
