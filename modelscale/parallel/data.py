"""Data parallelism by hand: the same weights everywhere, a share of every batch each, one average.

Legend: p ranks, n samples.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn

from .. import check
from ..train.parameters import trained


def broadcast(model: nn.Module, group=None) -> None:
    """Give every rank the weights and buffers of rank 0, in place."""
    for tensor in [*(p.data for p in model.parameters()), *model.buffers()]:
        whole = tensor.contiguous()  # gloo sends memory as it lies, whatever the strides
        dist.broadcast(whole, group=group, group_src=0)
        tensor.copy_(whole)


def batches(
    n: int, batch_size: int, rank: int, ranks: int, epoch: int = 0, seed: int = 0
) -> Iterator[tuple[torch.Tensor, int]]:
    """(row numbers of this rank, rows of all ranks together) of each step of one epoch.

    Every row is used once an epoch, by one rank, in the order of torch's DistributedSampler. The
    last batch may be smaller, and then so may a rank's share of it, down to none.
    """
    check.integer("rank", rank, low=0, high=ranks - 1, remedy="ranks count from 0")
    check.integer("batch_size", batch_size, high=check.integer("n", n))
    generator = torch.Generator()
    generator.manual_seed(check.integer("seed", seed, 0) + check.integer("epoch", epoch, 0))
    for whole in torch.randperm(n, generator=generator).split(batch_size):
        yield whole[rank::ranks], len(whole)


def average_gradients(model: nn.Module, group=None) -> None:
    """Make every gradient its mean over the ranks, one message each."""
    parameters = trained(model)
    refuse_missing([name for name, p in parameters.items() if p.grad is None])
    for p in parameters.values():
        dist.all_reduce(p.grad, group=group)
        p.grad /= dist.get_world_size(group)


def refuse_missing(names: list[str]) -> None:
    """Raise a ValueError if any parameter is named: one without a gradient, which all wait for."""
    if names:
        raise ValueError(
            f"no gradient for {', '.join(names)}: every trained parameter must take part in the "
            "loss, on every rank. Freeze it (requires_grad_(False)), or use it."
        )
