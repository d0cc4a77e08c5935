"""Seconds of what ranks do together: messages, and training steps, taken in turn.

A barrier before each timing lets all ranks begin together. These functions run on the ranks.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from .. import check, models
from ..train.loop import cross_entropy
from .buckets import DataParallel

AVERAGING = ("by hand", "library")


def message_s(ways: dict[str, Callable], sizes_bytes, timings: int) -> dict[str, np.ndarray]:
    """{name: median seconds by size} of functions of a float32 tensor that all ranks call.

    All ways of one size are timed in turn, so that a slow moment of the machine meets all of them.
    Two rounds go before that do not count.

    Raises: ValueError for fewer than one timing.
    Taught in: 08_data_parallel.
    """
    seconds = np.empty((check.integer("timings", timings) + 2, len(ways), len(sizes_bytes)))
    for column, size in enumerate(sizes_bytes):
        x = torch.zeros(size // 4)
        for row in range(timings + 2):
            for i, way in enumerate(ways.values()):
                dist.barrier()
                begin = time.perf_counter()
                way(x)
                seconds[row, i, column] = time.perf_counter() - begin
    return dict(zip(ways, np.median(seconds[2:], 0), strict=True))


def ring_step(x: torch.Tensor) -> None:
    """Nothing: one step of a ring, `x` to the rank after and as much from the one before."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    sending = dist.isend(x, (rank + 1) % ranks)
    dist.recv(torch.empty_like(x), (rank - 1) % ranks)
    sending.wait()


def training_step_s(
    shape, batch_size: int, steps: int, ranks: int = 1, threads: int = 1, averaging="by hand"
) -> float | None:
    """Median seconds of a training step on the first `ranks` ranks; None on the others.

    `batch_size` is each rank's own, of random data. The step is plain SGD; gradients are averaged
    in buckets beside the backward pass, by our `DataParallel` or by the library. All ranks of the
    run must call it.

    Raises: ValueError for an unknown `averaging`.
    Taught in: 08_data_parallel.
    """
    check.one_of("averaging", averaging, AVERAGING)
    group = dist.new_group(list(range(ranks)))
    if dist.get_rank() >= ranks:
        return None
    model = models.build(shape)
    network = _wrapped(model, group, averaging) if ranks > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, fused=True)
    x, y = _random_batch(shape, batch_size)
    before, seconds = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    for _ in range(steps + 1):  # the first does not count
        dist.barrier(group)
        begin = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(network(x), y).backward()
        if isinstance(network, DataParallel):
            network.finish()
        optimizer.step()
        dist.barrier(group)
        seconds.append(time.perf_counter() - begin)
    torch.set_num_threads(before)
    return float(np.median(seconds[1:]))


def in_turn(settings: dict[str, tuple], rounds: int = 3) -> dict[str, list[float]]:
    """{name: seconds of a step, one for each round} of `training_step_s(*settings[name])`.

    Each round times every setting once, in turn. Taught in: 08_data_parallel.
    """
    found = {name: [] for name in settings}
    for _ in range(check.integer("rounds", rounds)):
        for name, setting in settings.items():
            dist.barrier()
            found[name].append(training_step_s(*setting))
    return found


def _wrapped(model, group, averaging):
    if averaging == "library":
        return nn.parallel.DistributedDataParallel(model, process_group=group)
    return DataParallel(model, group=group)


def _random_batch(shape, batch_size):
    generator = torch.Generator().manual_seed(0)
    if hasattr(shape, "context"):
        size = (batch_size, shape.context)
        tokens = torch.randint(shape.vocab_size, size, generator=generator)
        return tokens, tokens
    x = torch.randn(batch_size, shape.n_in, generator=generator)
    return x, torch.randint(shape.n_out, (batch_size,), generator=generator)
