"""All-reduce as a ring of real processes, over send and receive, and what its time is made of.

Legend: p ranks, n bytes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from .. import check
from .sim import Traffic, all_gather_steps, reduce_scatter_steps


def all_reduce(x: torch.Tensor, group=None, traffic: Traffic | None = None) -> Traffic:
    """What this rank sent; `x` becomes the sum over the ranks of `group`, in place.

    With `traffic`, it is added to that. Raises: ValueError for a tensor that is not contiguous.
    Taught in: 08_data_parallel.
    """
    traffic = traffic or Traffic()
    reduce_scatter(x, group, traffic)
    all_gather(x, group, traffic)
    return traffic


def reduce_scatter(x: torch.Tensor, group=None, traffic: Traffic | None = None) -> torch.Tensor:
    """This rank's chunk of `x`, summed over the ranks; the rest of `x` is scratch afterwards.

    `traffic` counts what is sent. Raises: ValueError for a tensor that is not contiguous.
    Taught in: 08_data_parallel.
    """
    return _walk(x, reduce_scatter_steps, group, traffic)


def all_gather(x: torch.Tensor, group=None, traffic: Traffic | None = None) -> torch.Tensor:
    """This rank's chunk of `x`; every other chunk becomes what its own rank has there, in place.

    `traffic` counts what is sent. Raises: ValueError for a tensor that is not contiguous.
    Taught in: 08_data_parallel.
    """
    return _walk(x, all_gather_steps, group, traffic)


def own_chunk(x: torch.Tensor, group=None) -> torch.Tensor:
    """The chunk of `x` that this rank keeps in a ring: a view of `x`, flattened."""
    return _chunks(x, dist.get_world_size(group))[dist.get_rank(group)]


def _walk(x, steps, group, traffic):
    """This rank's chunk, after all `steps` of one half of the ring."""
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    chunks = _chunks(x, ranks)
    after, before = ((rank + d) % ranks for d in (1, -1))
    for step in steps(rank, ranks):
        mine = chunks[step.receive]
        arriving = torch.empty_like(mine) if step.add else mine
        sending = dist.isend(chunks[step.send], group=group, group_dst=after)
        dist.recv(arriving, group=group, group_src=before)
        if step.add:
            mine += arriving
        sending.wait()
        if traffic is not None:
            traffic.count(chunks[step.send])
    return chunks[rank]


def _chunks(x, ranks):
    if not x.is_contiguous():
        raise ValueError(
            f"x of shape {tuple(x.shape)} and strides {x.stride()}: it must be contiguous, "
            "so that its chunks can be changed in place. Use x.contiguous()."
        )
    return x.view(-1).tensor_split(ranks)


@dataclass(frozen=True)
class Link:
    """What a step of a ring costs: a latency for each message and a time for each byte."""

    latency_s: float
    bytes_per_s: float

    def step_s(self, n_bytes: float) -> float:
        """Seconds of one step: this many bytes to the rank after, as many from the one before."""
        return self.latency_s + n_bytes / self.bytes_per_s

    def all_reduce_s(self, n_bytes: float, ranks: int) -> float:
        """Seconds of a ring all-reduce: 2 (p - 1) steps, one after another, of n / p bytes each.

        Taught in: 08_data_parallel.
        """
        check.integer("ranks", ranks)
        return 2 * (ranks - 1) * self.step_s(n_bytes / ranks)


def fit_link(sizes_bytes, seconds) -> Link:
    """The latency and bandwidth that describe measured step times best, in relative terms.

    Raises: ValueError with fewer than two sizes, or times that grow with no byte.
    Taught in: 00_your_machine, 08_data_parallel.
    """
    sizes, times = np.asarray(sizes_bytes, float), np.asarray(seconds, float)
    if len(sizes) < 2 or sizes.shape != times.shape or not (times > 0).all():
        raise ValueError(
            f"sizes_bytes={sizes_bytes!r}, seconds={seconds!r}: one time above 0 is needed for "
            "each of at least 2 sizes."
        )
    columns = np.stack([np.ones(len(sizes)), sizes], 1) / times[:, None]  # every target is 1
    latency_s, s_per_byte = np.linalg.lstsq(columns, np.ones(len(sizes)))[0]
    if s_per_byte <= 0:
        raise ValueError(f"seconds={seconds!r}: they must grow with the size. Measure again.")
    return Link(max(float(latency_s), 0.0), float(1 / s_per_byte))
