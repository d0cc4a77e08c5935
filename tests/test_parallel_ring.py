"""Proves that the ring all-reduce gives every rank the sum, in one process and on real ranks, that
it sends 2 (p - 1) / p of the bytes and no more, and that its predicted time is made of its steps.
"""

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscale import count, parallel
from modelscale.parallel import ring, sim


def own(rank, shape=(3, 35)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(rank))


@settings(deadline=None, max_examples=60)
@given(ranks=st.integers(1, 9), n=st.integers(0, 40))
def test_in_one_process_every_rank_gets_the_sum_whatever_the_sizes(ranks, n):
    tensors = [torch.arange(n) * (rank + 1) for rank in range(ranks)]  # whole numbers: exact
    wanted = sum(tensors)
    traffic = sim.all_reduce(tensors)
    assert all(torch.equal(tensor, wanted) for tensor in tensors)
    assert all(t.messages == 2 * (ranks - 1) for t in traffic)
    assert sum(t.bytes for t in traffic) == 2 * (ranks - 1) * n * 8


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_each_rank_sends_what_the_formula_says(ranks):
    tensors = [torch.ones(ranks * 6) for _ in range(ranks)]
    wanted = count.sent_bytes("all_reduce", ranks * 24, ranks)
    assert [t.bytes for t in sim.all_reduce(tensors)] == [wanted] * ranks
    assert wanted == 2 * (ranks - 1) * 24


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_after_the_first_half_each_rank_owns_its_chunk(ranks):
    """Whoever receives a chunk is sent that chunk, and the halves end where they should."""
    for steps in (sim.reduce_scatter_steps, sim.all_gather_steps):
        for moment in zip(*(steps(r, ranks) for r in range(ranks)), strict=True):
            assert all(moment[r].receive == moment[r - 1].send for r in range(ranks))
    for r in range(ranks):
        assert sim.reduce_scatter_steps(r, ranks)[-1].receive == r
        assert sim.all_gather_steps(r, ranks)[0].send == r


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_on_real_ranks_it_equals_the_library_and_the_simulation(ranks):
    def both():
        by_hand, library = own(dist.get_rank()), own(dist.get_rank())
        traffic = ring.all_reduce(by_hand)
        dist.all_reduce(library)
        return by_hand, library, traffic

    simulated = [own(rank) for rank in range(ranks)]
    traffic = sim.all_reduce(simulated)
    for rank, (by_hand, library, sent) in enumerate(parallel.run(both, ranks=ranks)):
        assert torch.equal(by_hand, simulated[rank]) and sent == traffic[rank]
        assert torch.allclose(by_hand, library, atol=1e-6, rtol=0)
        assert by_hand.shape == (3, 35)


@pytest.mark.parametrize("ranks", [2, 3])
def test_chunks_in_pieces_give_the_same_sums_and_the_same_bytes(ranks):
    """Chunks of 5 and 4 numbers, or of 3, in pieces of one or two: none is lost or mistaken."""

    def in_pieces(piece_bytes, n):
        ring.PIECE_BYTES = piece_bytes
        x = own(dist.get_rank(), (n,))
        return x, ring.all_reduce(x)

    for n in (9, 14):
        simulated = [own(rank, (n,)) for rank in range(ranks)]
        traffic = sim.all_reduce(simulated)
        for rank, (x, sent) in enumerate(parallel.run(in_pieces, 4, n, ranks=ranks)):
            assert torch.equal(x, simulated[rank]) and sent.bytes == traffic[rank].bytes
            assert sent.messages == ring.PIECES * traffic[rank].messages


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_steps_in_pairs_as_nccl_wants_them_give_the_same(ranks):
    def in_pairs():
        ring._in_pieces = ring._in_pairs  # as on a GPU, where there is one
        x = own(dist.get_rank())
        return x, ring.all_reduce(x)

    simulated = [own(rank) for rank in range(ranks)]
    traffic = sim.all_reduce(simulated)
    for rank, (x, sent) in enumerate(parallel.run(in_pairs, ranks=ranks)):
        assert torch.equal(x, simulated[rank]) and sent == traffic[rank]


def test_the_halves_and_a_group_of_some_ranks():
    def halves():
        rank = dist.get_rank()
        group = dist.new_group([1, 2])
        if rank == 0:
            return None
        x = own(rank)
        chunk = ring.reduce_scatter(x, group).clone()
        alone = torch.zeros_like(x)
        ring.own_chunk(alone, group).copy_(chunk)
        ring.all_gather(alone, group)
        return chunk, alone

    (_, first, second), wanted = parallel.run(halves, ranks=3), own(1) + own(2)
    for i, (chunk, gathered) in enumerate((first, second)):
        assert torch.allclose(chunk, wanted.view(-1).tensor_split(2)[i])
        assert torch.allclose(gathered, wanted)


def test_a_predicted_time_is_the_sum_of_its_steps():
    link = ring.Link(latency_s=1e-4, bytes_per_s=1e9)
    assert link.all_reduce_s(8e6, 4) == pytest.approx(6 * (1e-4 + 2e6 / 1e9))
    assert link.all_reduce_s(8e6, 1) == 0


def test_a_link_is_found_again_from_the_times_it_gives():
    link = ring.Link(3e-4, 2e9)
    sizes = [4.0**k for k in range(1, 13)]
    found = ring.fit_link(sizes, [link.step_s(size) for size in sizes])
    assert found.latency_s == pytest.approx(3e-4) and found.bytes_per_s == pytest.approx(2e9)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: sim.all_reduce([]), "tensors of shapes"),
        (lambda: sim.all_reduce([torch.ones(2), torch.ones(3)]), r"\(2,\), \(3,\)"),
        (lambda: sim.all_gather_steps(2, 2), "rank=2: .* at most 1"),
        (lambda: ring._chunks(torch.ones(2, 3).T, 2), "contiguous"),
        (lambda: ring.fit_link([4], [1.0]), "at least 2 sizes"),
        (lambda: ring.fit_link([4, 8], [2.0, 1.0]), "grow"),
        (lambda: ring.Link(1.0, 1.0).all_reduce_s(4, 0), "ranks=0"),
    ],
)
def test_bad_input_is_answered(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_one_size_twice_tells_no_bandwidth():
    with pytest.raises(ValueError, match="at least 2 sizes"):
        ring.fit_link([4, 4], [1.0, 1.1])


def test_a_weight_is_summed_as_by_the_library():
    """One that wants a gradient, outside `no_grad`."""

    def weight():
        x = torch.ones(4, requires_grad=True)
        ring.all_reduce(x)
        return x.detach()

    for x in parallel.run(weight):
        assert torch.equal(x, torch.full((4,), 2.0))
