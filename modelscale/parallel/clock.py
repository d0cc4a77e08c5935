"""Seconds of what ranks do together: messages, and training steps, taken in turn.

A barrier before each timing lets all ranks begin together. These functions run on the ranks.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from .. import check, models
from ..train.loop import cross_entropy
from .buckets import DataParallel

AVERAGING = ("none", "by hand", "library")
WARM_UP = 1  # steps that do not count: memory is asked for, buckets are laid out


def message_s(ways: dict[str, Callable], sizes_bytes, timings: int) -> dict[str, np.ndarray]:
    """{name: median seconds by size} of functions of a float32 tensor that all ranks call.

    All ways of one size are timed in turn, in another order each round: so a slow moment of
    the machine meets all of them, and none always finds the caches as the same one left them. Two
    rounds go before that do not count.

    Raises: ValueError for fewer than one timing.
    Taught in: 08_data_parallel.
    """
    seconds = np.empty((check.integer("timings", timings) + 2, len(ways), len(sizes_bytes)))
    order = np.random.default_rng(0)  # the same on every rank
    for column, size in enumerate(sizes_bytes):
        x = torch.zeros(size // 4)
        for row in range(timings + 2):
            for i in order.permutation(len(ways)):
                dist.barrier()
                begin = time.perf_counter()
                tuple(ways.values())[i](x)
                seconds[row, i, column] = time.perf_counter() - begin
    return dict(zip(ways, np.median(seconds[2:], 0), strict=True))


def ring_step(x: torch.Tensor) -> None:
    """Nothing: one step of a ring, `x` to the rank after and as much from the one before."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    sending = dist.isend(x, (rank + 1) % ranks)
    dist.recv(torch.empty_like(x), (rank - 1) % ranks)
    sending.wait()


def training_step_s(
    shape, batch_size: int, steps: int, averaging="none", ranks: int = 1, threads: int = 1
) -> float | None:
    """Seconds of a training step on the first `ranks` ranks, a mean of `steps`; None on the others.

    `batch_size` is each rank's own, of random data. The step is plain SGD; gradients are averaged
    over these ranks in buckets beside the backward pass, by our `DataParallel` or by the library,
    or not at all. The ranks meet before the first step and after the last one: in between they
    wait for each other no more than their messages make them. All ranks of the run must call it.

    Raises: ValueError for an unknown `averaging`.
    Taught in: 08_data_parallel.
    """
    check.one_of("averaging", averaging, AVERAGING)
    check.integer("steps", steps)
    group = dist.new_group(list(range(ranks)))
    if dist.get_rank() >= ranks:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step = _step(shape, batch_size, averaging, group)
        for _ in range(WARM_UP):
            step()
        dist.barrier(group)
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        dist.barrier(group)
        return (time.perf_counter() - begin) / steps
    finally:
        torch.set_num_threads(before)
        dist.destroy_process_group(group)  # its threads and sockets


def in_turn(
    settings: dict[str, tuple], rounds: int = 3, limit_s: float = math.inf
) -> dict[str, list[float]]:
    """{name: seconds of a step, one for each round} of `training_step_s(*settings[name])`.

    Each round times every setting once, in turn. None begins once `limit_s` have passed: where
    others use the cores, threads that wait for each other can take a hundred times as long.
    Raises: ValueError for fewer than one round.
    Taught in: 08_data_parallel.
    """
    found, begin = {name: [] for name in settings}, time.perf_counter()
    for _ in range(check.integer("rounds", rounds)):
        for name, setting in settings.items():
            dist.barrier()
            found[name].append(training_step_s(*setting))
        passed_s = torch.tensor(time.perf_counter() - begin)
        dist.broadcast(passed_s, 0)  # so that all ranks go on, or none
        if passed_s > limit_s:
            break
    return found


def _step(shape, batch_size, averaging, group):
    """A function that takes one training step."""
    model = models.build(shape)
    network = _wrapped(model, group, averaging)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, fused=True)
    x, y = _random_batch(shape, batch_size)

    def step():
        optimizer.zero_grad()
        cross_entropy(network(x), y).backward()
        if averaging == "by hand":
            network.finish()
        optimizer.step()

    return step


def _wrapped(model, group, averaging):
    if averaging == "library":
        return nn.parallel.DistributedDataParallel(model, process_group=group)
    return DataParallel(model, group=group) if averaging == "by hand" else model


def _random_batch(shape, batch_size):
    generator = torch.Generator().manual_seed(0)
    if hasattr(shape, "context"):
        size = (batch_size, shape.context)
        tokens = torch.randint(shape.vocab_size, size, generator=generator)
        return tokens, tokens
    x = torch.randn(batch_size, shape.n_in, generator=generator)
    return x, torch.randint(shape.n_out, (batch_size,), generator=generator)
