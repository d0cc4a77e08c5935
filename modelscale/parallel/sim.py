"""Ranks as a list of tensors in one process: each step of a ring can be looked at.

Every rank cuts its tensor into as many chunks as there are ranks. In each step it sends one chunk
to the rank after it and takes one from the rank before. `ring` does the same on real processes.
"""

from dataclasses import dataclass

import torch

from .. import check


@dataclass(frozen=True)
class Step:
    """What one rank does in one step of a ring, as chunk numbers."""

    send: int  # goes to the rank after this one
    receive: int  # comes from the rank before
    add: bool  # what comes is added to the own chunk; else it takes the chunk's place


@dataclass
class Traffic:
    """What one rank has sent."""

    messages: int = 0
    bytes: int = 0

    def count(self, sent: torch.Tensor) -> None:
        """Nothing: counts one message."""
        self.messages += 1
        self.bytes += sent.numel() * sent.element_size()


def reduce_scatter_steps(rank: int, ranks: int) -> list[Step]:
    """The first half of a ring: afterwards rank r holds the sum of all ranks in chunk r.

    Raises: ValueError for a rank that is not one of `ranks`.
    Taught in: 08_data_parallel.
    """
    rank = _checked(rank, ranks)
    return [Step((rank - s - 1) % ranks, (rank - s - 2) % ranks, True) for s in range(ranks - 1)]


def all_gather_steps(rank: int, ranks: int) -> list[Step]:
    """The second half: each rank passes on what it got last, beginning with its own chunk.

    Raises: ValueError for a rank that is not one of `ranks`.
    Taught in: 08_data_parallel.
    """
    rank = _checked(rank, ranks)
    return [Step((rank - s) % ranks, (rank - s - 1) % ranks, False) for s in range(ranks - 1)]


def all_reduce(tensors: list[torch.Tensor]) -> list[Traffic]:
    """The traffic of each rank; each of `tensors`, one a rank, becomes the sum of all, in place.

    Raises: ValueError without tensors, or for tensors of different shapes.
    Source: Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms.
    Taught in: 08_data_parallel.
    """
    if not tensors or len({tensor.shape for tensor in tensors}) > 1:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise ValueError(f"tensors of shapes {shapes}: one a rank is needed, all of one shape.")
    ranks = len(tensors)
    chunks = [tensor.view(-1).tensor_split(ranks) for tensor in tensors]
    traffic = [Traffic() for _ in tensors]
    for steps in (reduce_scatter_steps, all_gather_steps):
        for moment in zip(*(steps(rank, ranks) for rank in range(ranks)), strict=True):
            _exchange(chunks, moment, traffic)
    return traffic


def _exchange(chunks, moment, traffic):
    """All ranks take one step at the same moment; no rank changes the chunk that it sends."""
    sent = [mine[step.send] for mine, step in zip(chunks, moment, strict=True)]
    for rank, step in enumerate(moment):
        traffic[rank].count(sent[rank])
        own, arriving = chunks[rank][step.receive], sent[rank - 1]
        own.copy_(own + arriving if step.add else arriving)


def _checked(rank, ranks):
    check.integer("ranks", ranks)
    return check.integer("rank", rank, low=0, high=ranks - 1, remedy="ranks count from 0")
