"""All-reduce as a ring of real processes, over send and receive, and what its time is made of.

Every rank cuts its tensor into p chunks; in each step it sends one to the rank after it and takes
one from the rank before. A large chunk travels in pieces, and each piece is passed on as soon as it
is added up, while the next is still arriving: so no rank ever waits for a whole chunk.
Source: Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms.
Legend: p ranks, n bytes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from .. import check

PIECE_BYTES = 2**19  # no piece is smaller, unless its chunk is: every message costs a latency
PIECES = 3  # of a large chunk; and so many may arrive before the first of them is added up


def all_reduce(x: torch.Tensor, group=None) -> None:
    """Make `x` the sum over the ranks of `group`, in place."""
    _walk(x, group, adding=True, passing_on=True)


def reduce_scatter(x: torch.Tensor, group=None) -> torch.Tensor:
    """This rank's chunk of `x`, summed over the ranks; the rest of `x` is scratch afterwards."""
    return _walk(x, group, adding=True)


def all_gather(x: torch.Tensor, group=None) -> torch.Tensor:
    """This rank's chunk of `x`; every other chunk becomes what its own rank has there, in place."""
    return _walk(x, group, passing_on=True)


def own_chunk(x: torch.Tensor, group=None) -> torch.Tensor:
    """The chunk of `x` that this rank keeps in a ring: a view of `x`, flattened."""
    return _chunks(x, dist.get_world_size(group))[dist.get_rank(group)]


def pass_on(sent: torch.Tensor, arriving: torch.Tensor, group=None) -> None:
    """Give the next rank of the ring `sent`; the one before fills `arriving`.

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


@dataclass(frozen=True)
class Link:
    """What a step of a ring costs: a latency for each message and a time for each byte."""

    latency_s: float
    bytes_per_s: float

    def step_s(self, n_bytes: float) -> float:
        """Seconds of one step: this many bytes to the rank after, as many from the one before."""
        return self.latency_s + n_bytes / self.bytes_per_s

    def all_reduce_s(self, n_bytes: float, ranks: int) -> float:
        """Seconds of a ring all-reduce: 2 (p - 1) steps, one after another, of n / p bytes each."""
        check.integer("ranks", ranks)
        return 2 * (ranks - 1) * self.step_s(n_bytes / ranks)


def fit_link(sizes_bytes, seconds) -> Link:
    """The latency and bandwidth that describe measured step times best, in relative terms.

    Raises: ValueError with fewer than two sizes, or times that do not grow with the size.
    """
    sizes, times = np.asarray(sizes_bytes, float), np.asarray(seconds, float)
    if len(set(sizes.flat)) < 2 or sizes.shape != times.shape or not (times > 0).all():
        check.refuse("seconds", seconds, "a time above 0 for each of at least 2 sizes")
    columns = np.stack([np.ones(len(sizes)), sizes], 1) / times[:, None]  # every target is 1
    latency_s, s_per_byte = np.linalg.lstsq(columns, np.ones(len(sizes)))[0]
    if s_per_byte <= 0:
        check.refuse("seconds", seconds, "growing with the size", "measure again")
    return Link(max(float(latency_s), 0.0), float(1 / s_per_byte))


@dataclass(frozen=True)
class _Step:
    """What one rank does in one step of a ring, as chunk numbers."""

    send: int  # goes to the rank after this one
    receive: int  # comes from the rank before; it is sent in the next step
    add: bool  # what comes is added to the own chunk; else it takes the chunk's place


def _walk(x, group, adding=False, passing_on=False):
    """This rank's chunk, after the first half of a ring (adding), the second, or both."""
    rank, p = dist.get_rank(group), dist.get_world_size(group)
    steps = []
    if adding:  # it ends with the finished sum of the own chunk
        steps += [_Step((rank - s - 1) % p, (rank - s - 2) % p, True) for s in range(p - 1)]
    if passing_on:  # it begins with it
        steps += [_Step((rank - s) % p, (rank - s - 1) % p, False) for s in range(p - 1)]
    chunks = _chunks(x.detach(), p)
    (_in_pieces if x.device.type == "cpu" else _in_pairs)(chunks, steps, group)
    return chunks[rank]


def _in_pieces(chunks, steps, group):
    """Take the steps, each piece of a chunk as soon as it is there."""
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


def _in_pairs(chunks, steps, group):
    """Take the steps with whole chunks, as a GPU's messages want it."""
    for step in steps:
        mine = chunks[step.receive]
        into = torch.empty_like(mine) if step.add else mine
        pass_on(chunks[step.send], into, group)
        if step.add:
            mine += into


def _neighbours(group):
    """(who sends to this rank, to whom it sends)."""
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    return (rank - 1) % ranks, (rank + 1) % ranks


def _chunks(x, ranks):
    if not x.is_contiguous():
        check.refuse("strides of x", x.stride(), "contiguous", "use x.contiguous()")
    return x.view(-1).tensor_split(ranks)


def _pieces(chunk):
    return chunk.tensor_split(min(max(chunk.nbytes // PIECE_BYTES, 1), PIECES))
