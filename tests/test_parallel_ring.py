"""Proves that the ring all-reduce and its halves give every rank the sum, whatever
the sizes, pieces and groups, sending 2 (p - 1) / p of the bytes and no more.
"""

import pytest
import torch
import torch.distributed as dist

from modelscale import count, parallel
from modelscale.parallel import ring
from modelscale.parallel.traffic import Meter


def own(rank, shape=(3, 35)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(rank))


def summed(shape, piece_bytes=ring.PIECE_BYTES, pairs=False):
    """This rank's numbers after the ring, after the library's sum, and what the ring sent."""
    ring.PIECE_BYTES = piece_bytes
    if pairs:
        ring._in_pieces = ring._in_pairs  # as on a GPU, where there is one
    by_hand, library = own(dist.get_rank(), shape), own(dist.get_rank(), shape)
    with Meter() as meter:
        ring.all_reduce(by_hand)
    dist.all_reduce(library)
    return by_hand, library, meter.calls


WAYS = {"pieces": (4, False), "whole chunks": (2**19, False), "pairs, as nccl wants": (4, True)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_it_equals_the_library_and_sends_what_is_counted(ranks, way):
    """Chunks of 5 and 4 numbers, of 3, or of none, in pieces of one or two: no number is lost."""

    def all_shapes():
        return [summed(shape, *WAYS[way]) for shape in ((3, 36), (14,), (9,), (1,))]

    by_rank = parallel.run(all_shapes, ranks=ranks)
    for found in zip(*by_rank, strict=True):
        whole = found[0][0]
        for by_hand, library, _ in found:
            assert torch.equal(by_hand, whole) and by_hand.shape == library.shape
            assert torch.allclose(by_hand, library, atol=1e-6, rtol=0)
        sent = sum(n_bytes for _, _, calls in found for _, n_bytes in calls)
        assert sent == pytest.approx(ranks * count.sent_bytes("all_reduce", whole.nbytes, ranks))
    messages = {len(calls) for _, _, calls in [found[0] for found in by_rank]}
    pieces = ring.PIECES if way == "pieces" else 1
    assert messages == {2 * (ranks - 1) * pieces}


def test_the_halves_and_a_group_of_some_ranks():
    def halves():
        rank = dist.get_rank()
        group = dist.new_group([1, 2])
        if rank == 0:
            return None
        chunk = ring.reduce_scatter(own(rank), group).clone()
        alone = torch.zeros_like(own(rank))
        alone.view(-1).tensor_split(2)[rank - 1].copy_(chunk)
        ring.all_gather(alone, group)
        return chunk, alone

    (_, first, second), wanted = parallel.run(halves, ranks=3), own(1) + own(2)
    for i, (chunk, gathered) in enumerate((first, second)):
        assert torch.allclose(chunk, wanted.view(-1).tensor_split(2)[i])
        assert torch.allclose(gathered, wanted)


def test_a_weight_is_summed_as_by_the_library():
    """One that wants a gradient, outside `no_grad`."""

    def weight():
        x = torch.ones(4, requires_grad=True)
        ring.all_reduce(x)
        return x.detach()

    for x in parallel.run(weight):
        assert torch.equal(x, torch.full((4,), 2.0))
