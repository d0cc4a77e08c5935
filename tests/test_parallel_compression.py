"""Proves that compressed gradients are what they say, lose nothing for ever where they remember,
and count their bytes; that local steps are averaged; and that asynchronous workers' gradients are
applied as they arrive, each once, as late as is said, with one worker as in one process.
"""

import math
import time

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modelscale import parallel
from modelscale.parallel import compression, data, stale

N = 101
MAKERS = {
    "all": lambda: compression.Compressor(),
    "whole": lambda: compression.TopShare(1.0),
    "top": lambda: compression.TopShare(0.1),
    "forgetful": lambda: compression.TopShare(0.1, feedback=False),
    "signs": lambda: compression.Signs(),
}


@pytest.fixture(scope="module", autouse=True)
def optimizers_are_imported():
    """Once, by the server that ranks are forked from, where it is not running yet."""
    parallel.warm_up("torch._dynamo")


def gradient(rank):
    return torch.randn(N, generator=torch.Generator().manual_seed(rank))


def compress(rounds):
    """By kind: every round's mean, what is left at the end, the bytes of the first round."""
    found = {}
    for name, make in MAKERS.items():
        compressor = make()
        means = [compressor.mean(gradient(dist.get_rank()))]
        first = compressor.sent_bytes
        means += [compressor.mean(gradient(dist.get_rank())) for _ in range(rounds - 1)]
        found[name] = torch.stack(means), compressor.left, first
    return found


@pytest.fixture(scope="module")
def ranks():
    """What two ranks found over 30 rounds of the same gradient."""
    return parallel.run(compress, 30)


def test_all_ranks_end_up_with_the_same(ranks):
    for name in MAKERS:
        assert torch.equal(ranks[0][name][0], ranks[1][name][0])


def test_what_leaves_nothing_out_is_the_mean(ranks):
    mean = (gradient(0) + gradient(1)) / 2
    for name in ("all", "whole"):
        assert torch.allclose(ranks[0][name][0], mean.expand(30, N), atol=1e-6)
        assert float(ranks[0][name][1].abs().max()) == 0


def test_the_largest_are_sent_first(ranks):
    wanted = torch.zeros(N)
    for rank in range(2):
        top = gradient(rank).abs().topk(math.ceil(0.1 * N)).indices
        wanted[top] += gradient(rank)[top] / 2
    for name in ("top", "forgetful"):
        assert torch.allclose(ranks[0][name][0][0], wanted, atol=1e-6)


def test_what_was_left_out_comes_later_unless_forgotten(ranks):
    mean = (gradient(0) + gradient(1)) / 2
    for name in ("top", "signs"):
        means, left, _ = ranks[0][name]
        together = (left + ranks[1][name][1]) / 2
        assert torch.allclose(means.sum(0) + together, 30 * mean, atol=1e-3)
    forgetful = ranks[0]["forgetful"][0]
    assert torch.equal(forgetful[0], forgetful[-1])
    never = int((forgetful.abs().sum(0) == 0).sum())
    still = int((ranks[0]["top"][0].abs().sum(0) == 0).sum())  # the smallest, in 30 rounds
    assert never > N / 2 and still < N / 10


def test_signs_are_one_size_a_rank(ranks):
    first = ranks[0]["signs"][0][0]
    wanted = sum(gradient(r).sign() * gradient(r).abs().mean() for r in range(2)) / 2
    assert torch.allclose(first, wanted, atol=1e-6)


def test_bytes_are_counted(ranks):
    wanted = {"all": 4 * N, "whole": 8 * N, "top": 8 * 11, "forgetful": 8 * 11, "signs": 13 + 4}
    assert {name: found[2] for name, found in ranks[0].items()} == wanted


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits_come_back(truths):
    positive = torch.tensor(truths)
    bits = compression.pack(positive)
    assert len(bits) == math.ceil(len(truths) / 8) and bits.dtype == torch.uint8
    assert torch.equal(compression.unpack(bits, len(truths)) > 0, positive)


def test_what_comes_back_has_the_gradients_format():
    def mean_of(dtype):
        found = [(make(), gradient(dist.get_rank()).to(dtype)) for make in MAKERS.values()]
        return [(c.mean(g).dtype, c.mean(g).dtype, c.left.dtype, c.sent_bytes) for c, g in found]

    (found,) = parallel.run(mean_of, torch.bfloat16, ranks=1)
    assert all(set(row[:3]) == {torch.bfloat16} for row in found)
    assert found[0][3] == 2 * 2 * N


def test_local_weights_become_their_mean():
    def average():
        model = nn.Linear(3, 2)
        nn.init.constant_(model.weight, dist.get_rank() + 1.0)
        before = data.spread(model)
        return stale.average_weights(model), model.weight.detach(), before, data.spread(model)

    for n_bytes, weight, before, after in parallel.run(average, ranks=3):
        assert n_bytes == 4 * 8 and before >= 2 and after == 0
        assert torch.allclose(weight, torch.full((2, 3), 2.0))


def asynchronous(updates, pauses=(0.0,) * 9):
    """On w^2 / 2, whose gradient is w: the server's lateness, gradients and weights; a worker's
    number of gradients."""
    model, rank = nn.Linear(1, 1, bias=False), dist.get_rank()
    if rank > 0:

        def loss_of(m):
            time.sleep(pauses[rank])
            return 0.5 * m.weight.square().sum()

        return stale.work(model, loss_of)
    nn.init.constant_(model.weight, 1.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    gradients, weights = [], [1.0]
    optimizer.register_step_pre_hook(lambda *_: gradients.append(float(model.weight.grad)))
    optimizer.register_step_post_hook(lambda *_: weights.append(float(model.weight.detach())))
    return stale.serve(model, optimizer, updates), gradients, weights


@pytest.mark.parametrize(("workers", "updates"), [(1, 6), (2, 9), (3, 2), (4, 20)])
def test_every_gradient_is_applied_once_and_is_as_late_as_is_said(workers, updates):
    """It is that of the weights so many updates ago; all together are as late as counting says:
    each update makes every other gradient under way later by one."""
    server, *counts = parallel.run(asynchronous, updates, ranks=workers + 1)
    late, gradients, weights = server
    assert sum(counts) == len(late) == updates
    assert gradients == [weights[done - behind] for done, behind in enumerate(late)]
    assert sum(late) == sum(min(workers - 1, updates - e) for e in range(1, updates + 1))


def test_a_slow_worker_is_later_and_does_less_but_the_mean_is_the_same():
    server, slow, *others = parallel.run(asynchronous, 60, (0, 0.05, 0, 0), ranks=4)
    assert slow < min(others) and max(server[0]) > 6
    assert sum(server[0]) == 2 * 58 + 1


def test_one_worker_trains_as_one_process_does():
    def trained(alone):
        torch.manual_seed(0)
        model, x = nn.Linear(5, 3), torch.randn(20, 4, 5)
        batches = iter(x)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

        def loss_of(m):
            return m(next(batches)).square().mean()

        if not alone and dist.get_rank() > 0:
            return stale.work(model, loss_of)
        if not alone:
            stale.serve(model, optimizer, 20)
        for _ in range(20 * alone):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
        return model.weight.detach()

    assert torch.equal(parallel.run(trained, True)[0], parallel.run(trained, False)[0])


def test_frozen_parameters_stay_and_unused_ones_are_refused():
    def some(frozen):
        model = nn.Linear(2, 1)
        model.bias.requires_grad_(not frozen)
        if dist.get_rank() == 0:
            return stale.serve(model, torch.optim.SGD([model.weight], 0.1), 3)
        return stale.work(model, lambda m: m.weight.sum())

    assert parallel.run(some, True, ranks=2) == [[0, 0, 0], 3]
    with pytest.raises(parallel.RankError, match="no gradient for bias"):
        parallel.run(some, False, ranks=2)


def test_the_first_rank_of_a_group_is_its_server():
    def some():
        group = dist.new_group([1, 2])
        model = nn.Linear(2, 1)
        if dist.get_rank() == 1:
            return stale.serve(model, torch.optim.SGD(model.parameters(), 0.1), 3, group)
        if dist.get_rank() == 2:
            return stale.work(model, lambda m: m.weight.sum() + m.bias.sum(), group)
        return None

    assert parallel.run(some, ranks=3) == [None, [0, 0, 0], 3]


def test_serving_nobody_is_refused():
    def alone():
        model = nn.Linear(1, 1)
        return stale.serve(model, torch.optim.SGD(model.parameters(), 0.1), 3)

    with pytest.raises(parallel.RankError, match=r"workers=0.*2 ranks or more"):
        parallel.run(alone, ranks=1)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: compression.TopShare(0.0), "share=0.0"),
        (lambda: compression.TopShare(1.5), "at most 1"),
    ],
)
def test_bad_input_is_answered(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_a_share_sends_no_more_than_it_says():
    def sent():
        top = compression.TopShare(0.07)  # of 100, of which floats make a little more than 7
        top.mean(torch.randn(100))
        return top.sent_bytes

    assert parallel.run(sent) == [7 * (4 + 4)] * 2


def test_averaged_weights_keep_their_formats():
    def mixed():
        torch.manual_seed(dist.get_rank())
        network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).bfloat16())
        before = [p.detach().clone() for p in network.parameters()]
        stale.average_weights(network)
        return before, [p.detach() for p in network.parameters()]

    (first, found), (second, _) = parallel.run(mixed)
    for a, b, mean in zip(first, second, found, strict=True):
        assert mean.dtype == a.dtype
        torch.testing.assert_close(mean, (a + b) / 2)
