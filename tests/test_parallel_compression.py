"""Proves that compressed gradients are what they say, lose nothing for ever where they remember,
and count their bytes; that local steps are averaged; and that a delayed gradient is that of the
weights so many steps ago.
"""

import math

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


def test_local_weights_become_their_mean():
    def average():
        model = nn.Linear(3, 2)
        nn.init.constant_(model.weight, dist.get_rank() + 1.0)
        before = data.spread(model)
        return stale.average_weights(model), model.weight.detach(), before, data.spread(model)

    for n_bytes, weight, before, after in parallel.run(average, ranks=3):
        assert n_bytes == 4 * 8 and before >= 2 and after == 0
        assert torch.allclose(weight, torch.full((2, 3), 2.0))


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_late_gradient_is_that_of_the_weights_so_many_steps_ago(delay):
    """On w^2 / 2, whose gradient is w: w(t+1) = w(t) - lr w(t - delay)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    late = stale.Delayed(model, torch.optim.SGD(model.parameters(), 0.1), delay)
    weights = [1.0]
    for step in range(8):
        loss = late.step(lambda m: 0.5 * m.weight.square().sum())
        old = weights[max(0, step - delay)]
        assert float(loss) == pytest.approx(0.5 * old**2)
        weights.append(weights[-1] - 0.1 * old)
        assert float(model.weight.detach()) == pytest.approx(weights[-1])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: compression.TopShare(0.0), "share=0.0"),
        (lambda: compression.TopShare(1.5), "at most 1"),
        (lambda: stale.Delayed(nn.Linear(1, 1), None, -1), "delay=-1"),
    ],
)
def test_bad_input_is_answered(call, told):
    with pytest.raises(ValueError, match=told):
        call()
