"""Data parallelism by hand: the same weights everywhere, a share of every batch each, one average.

Legend: p ranks, n samples.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn

from .. import check


def broadcast(model: nn.Module, src: int = 0, group=None) -> None:
    """Nothing: every rank's weights and buffers become those of rank `src`, in place.

    Taught in: 08_data_parallel.
    """
    for tensor in [*(p.data for p in model.parameters()), *model.buffers()]:
        whole = tensor.contiguous()  # gloo sends memory as it lies, whatever the strides
        dist.broadcast(whole, group=group, group_src=src)
        if whole is not tensor:
            tensor.copy_(whole)


def epoch_order(n: int, epoch: int = 0, seed: int = 0) -> torch.Tensor:
    """The row numbers of one epoch in random order, the same on every rank: (n,) int64.

    It is the order of torch's DistributedSampler.
    Raises: ValueError unless n is at least 1.
    """
    generator = torch.Generator()
    generator.manual_seed(check.integer("seed", seed, 0) + check.integer("epoch", epoch, 0))
    return torch.randperm(check.integer("n", n), generator=generator)


def batches(
    n: int, batch_size: int, rank: int, ranks: int, epoch: int = 0, seed: int = 0
) -> Iterator[tuple[torch.Tensor, int]]:
    """(row numbers of this rank, rows of all ranks together) of each step of one epoch.

    Every row is used once an epoch, by one rank. The last batch may be smaller, and then so may a
    rank's share of it, down to none. `ranks` may be 1: the whole batch in one process.

    Raises: ValueError for a rank that is not one of `ranks`, or a batch larger than the data.
    Taught in: 08_data_parallel.
    """
    check.integer("ranks", ranks)
    check.integer("rank", rank, low=0, high=ranks - 1, remedy="ranks count from 0")
    check.integer("batch_size", batch_size, high=check.integer("n", n))
    for whole in epoch_order(n, epoch, seed).split(batch_size):
        yield whole[rank::ranks], len(whole)


def average_gradients(model: nn.Module, group=None) -> int:
    """Messages sent by one rank; every gradient becomes its mean over the ranks, one at a time.

    Raises: ValueError for a trained parameter without a gradient: the ranks would wait for it.
    Taught in: 08_data_parallel.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    refuse_missing([name for name, p in parameters.items() if p.grad is None])
    for p in parameters.values():
        dist.all_reduce(p.grad, group=group)
        p.grad /= dist.get_world_size(group)
    return len(parameters)


def share_of_mean(losses: torch.Tensor, n_all: int, ranks: int) -> torch.Tensor:
    """This rank's loss, such that the mean of all ranks' gradients is that of the whole batch.

    `losses` are those of its own samples, and none is allowed; `n_all` counts the samples of all
    ranks together. The mean of the ranks' own means is wrong where their shares are unequal.

    Shapes: losses (n,) -> ().
    Raises: ValueError where `n_all` is smaller than the number of `losses`.
    Taught in: 08_data_parallel.
    """
    check.integer("n_all", n_all, low=max(1, losses.numel()))
    return losses.sum() * (check.integer("ranks", ranks) / n_all)


def spread(model: nn.Module, group=None) -> float:
    """The largest difference between any two ranks' copies of one weight: 0 where all agree.

    Taught in: 08_data_parallel.
    """
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    highest, lowest = flat.clone(), flat.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX, group)
    dist.all_reduce(lowest, dist.ReduceOp.MIN, group)
    return float((highest - lowest).max())


def refuse_missing(names: list[str]) -> None:
    """Nothing. Raises: ValueError if any parameter is named."""
    if names:
        raise ValueError(
            f"no gradient for {', '.join(names)}: every trained parameter must take part in the "
            "loss, on every rank. Freeze it (requires_grad_(False)), or use it."
        )
