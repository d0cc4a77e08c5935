"""All-reduce as a ring of real processes, over send and receive, and what its time is made of.

A large chunk travels in pieces, and each piece is passed on as soon as it is added up, while the
next is still arriving: so no rank ever waits for a whole chunk.
Legend: p ranks, n bytes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from .. import check
from .sim import Traffic, all_gather_steps, reduce_scatter_steps

PIECE_BYTES = 2**19  # no piece is smaller, unless its chunk is: every message costs a latency
PIECES = 3  # of a large chunk; and so many may arrive before the first of them is added up


def all_reduce(x: torch.Tensor, group=None, traffic: Traffic | None = None) -> Traffic:
    """What this rank sent; `x` becomes the sum over the ranks of `group`, in place.

    With `traffic`, it is added to that. Raises: ValueError for a tensor that is not contiguous.
    Taught in: 08_data_parallel.
    """
    traffic = traffic or Traffic()
    _walk(x, lambda *a: reduce_scatter_steps(*a) + all_gather_steps(*a), group, traffic)
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


def pass_on(sent: torch.Tensor, arriving: torch.Tensor, group=None) -> None:
    """Nothing: the next rank of the ring gets `sent`, and the one before fills `arriving`.

    Both begin as one: nccl takes the messages between two ranks in order, so that they would wait
    for ever if each sent, or received, first.
    """
    before, after = _neighbours(group)
    both = [
        dist.P2POp(dist.isend, sent, group=group, group_peer=after),
        dist.P2POp(dist.irecv, arriving, group=group, group_peer=before),
    ]
    for message in dist.batch_isend_irecv(both):
        message.wait()


def own_chunk(x: torch.Tensor, group=None) -> torch.Tensor:
    """The chunk of `x` that this rank keeps in a ring: a view of `x`, flattened."""
    return _chunks(x, dist.get_world_size(group))[dist.get_rank(group)]


def _walk(x, steps_of, group, traffic):
    """This rank's chunk, after all its steps: what arrives in one is what it sends in the next."""
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    chunks, walk = _chunks(x.detach(), ranks), _in_pieces if x.device.type == "cpu" else _in_pairs
    walk(chunks, steps_of(rank, ranks), group, traffic or Traffic())
    return chunks[rank]


def _neighbours(group):
    """(who sends to this rank, to whom it sends)."""
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    return (rank - 1) % ranks, (rank + 1) % ranks


def _in_pieces(chunks, steps, group, traffic):
    """Nothing: takes the steps, each piece of a chunk as soon as it is there."""
    before, after = _neighbours(group)
    due = [(step, piece) for step in steps for piece in _pieces(chunks[step.receive])]
    room = chunks[0].new_empty(PIECES, max((piece.numel() for _, piece in due), default=0))
    arriving, sending = [], []

    def ask(i):
        step, mine = due[i]
        into = room[i % PIECES, : mine.numel()] if step.add else mine
        arriving.append((into, dist.irecv(into, group=group, group_src=before)))

    def send(piece):
        sending.append(dist.isend(piece, group=group, group_dst=after))
        traffic.count(piece)

    for i in range(min(PIECES, len(due))):
        ask(i)
    for piece in _pieces(chunks[steps[0].send]) if steps else []:
        send(piece)
    for i, (step, mine) in enumerate(due):
        into, arrival = arriving[i]
        arrival.wait()
        if step.add:
            mine += into
        if i + PIECES < len(due):
            ask(i + PIECES)
        if step is not steps[-1]:
            send(mine)
    for work in sending:
        work.wait()


def _in_pairs(chunks, steps, group, traffic):
    """Nothing: takes the steps with whole chunks, as a GPU's messages want it."""
    for step in steps:
        mine = chunks[step.receive]
        into = torch.empty_like(mine) if step.add else mine
        pass_on(chunks[step.send], into, group)
        traffic.count(chunks[step.send])
        if step.add:
            mine += into


def _chunks(x, ranks):
    if not x.is_contiguous():
        raise ValueError(
            f"x of shape {tuple(x.shape)} and strides {x.stride()}: it must be contiguous, "
            "so that its chunks can be changed in place. Use x.contiguous()."
        )
    return x.view(-1).tensor_split(ranks)


def _pieces(chunk):
    return chunk.tensor_split(min(max(chunk.nbytes // PIECE_BYTES, 1), PIECES))


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
    if len(set(sizes.flat)) < 2 or sizes.shape != times.shape or not (times > 0).all():
        raise ValueError(
            f"sizes_bytes={sizes_bytes!r}, seconds={seconds!r}: one time above 0 is needed for "
            "each of at least 2 sizes."
        )
    columns = np.stack([np.ones(len(sizes)), sizes], 1) / times[:, None]  # every target is 1
    latency_s, s_per_byte = np.linalg.lstsq(columns, np.ones(len(sizes)))[0]
    if s_per_byte <= 0:
        raise ValueError(f"seconds={seconds!r}: they must grow with the size. Measure again.")
    return Link(max(float(latency_s), 0.0), float(1 / s_per_byte))
