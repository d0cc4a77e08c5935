"""All-reduce as a ring of real processes, over send and receive.

Every rank cuts its tensor into p chunks; in each step it sends one to the rank after it and takes
one from the rank before. A large chunk travels in pieces, and each piece is passed on as soon as it
is added up, while the next is still arriving: so no rank ever waits for a whole chunk.
Source: Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms.
Legend: p ranks.
"""

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


def _walk(x, group, adding=False, passing_on=False):
    """This rank's chunk, after the first half of a ring (adding), the second, or both."""
    rank, p = dist.get_rank(group), dist.get_world_size(group)
    chunks = _chunks(x.detach(), p)
    steps = []  # (chunk that the next rank gets, chunk that arrives, whether it is added)
    if adding:  # it ends with the finished sum of the own chunk
        steps += [(chunks[rank - s - 1], chunks[rank - s - 2], True) for s in range(p - 1)]
    if passing_on:  # it begins with it
        steps += [(chunks[rank - s], chunks[rank - s - 1], False) for s in range(p - 1)]
    if steps:
        (_in_pieces if x.device.type == "cpu" else _in_pairs)(steps, group)
    return chunks[rank]


def _in_pieces(steps, group):
    """Take the steps, each piece of a chunk as soon as it is there."""
    before, after = _neighbours(group)
    due = [(mine, add) for _, chunk, add in steps for mine in _pieces(chunk)]
    room = due[0][0].new_empty(PIECES, max(mine.numel() for mine, _ in due))
    arriving, sending = [], []

    def ask(i):
        mine, add = due[i]
        into = room[i % PIECES, : mine.numel()] if add else mine
        arriving.append((into, dist.irecv(into, group=group, group_src=before)))

    def send(piece):
        sending.append(dist.isend(piece, group=group, group_dst=after))

    for i in range(min(PIECES, len(due))):
        ask(i)
    for piece in _pieces(steps[0][0]):
        send(piece)
    n_passed_on = len(due) - len(_pieces(steps[-1][1]))
    for i, (mine, add) in enumerate(due):
        into, arrival = arriving[i]
        arrival.wait()
        if add:
            mine += into
        if i + PIECES < len(due):
            ask(i + PIECES)
        if i < n_passed_on:
            send(mine)
    for work in sending:
        work.wait()


def _in_pairs(steps, group):
    """Take the steps with whole chunks, as a GPU's messages want it."""
    for sent, mine, add in steps:
        into = torch.empty_like(mine) if add else mine
        pass_on(sent, into, group)
        if add:
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
