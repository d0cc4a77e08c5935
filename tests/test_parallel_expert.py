"""Proves that experts on different ranks are the dense mixture: outputs, input gradients, gradients
of experts and router; that a full expert drops what comes last, that the drops are counted and
give nothing, and that all other tokens are as they were."""

import math
import sys
from dataclasses import replace

import cloudpickle
import pytest
import torch
import torch.distributed as dist

from modelscale import count, models, parallel
from modelscale.parallel import expert, traffic

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

GPT = count.Transformer(1, 32, 4, 61, 24, n_expert=4, n_expert_active=2)
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
TOKENS = 12


def mixture_of(active=2, n_expert=4):
    """The mixture of a one-layer GPT, with a router that makes up its mind."""
    mixture = models.build(replace(GPT, n_expert=n_expert, n_expert_active=active)).blocks[0].mlp
    generator = torch.Generator().manual_seed(1)
    mixture.router.weight.data = torch.randn(n_expert, 32, generator=generator)
    for parameter in mixture.parameters():
        if parameter.dim() == 1:
            parameter.data += torch.randn(parameter.shape, generator=generator)
    return mixture


def tokens_of(ranks, batch=2):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(ranks * batch, TOKENS, 32, generator=generator)


def check_equal(active, n_expert):
    group = dist.group.WORLD
    ranks, rank = group.size(), group.rank()
    dense, x = mixture_of(active, n_expert), tokens_of(ranks).requires_grad_()
    y = dense(x)
    weights = torch.linspace(-1, 1, y.numel()).view_as(y)
    (y * weights).sum().backward()

    for capacity in (None, float(n_expert)):  # at E times its share, an expert can take all
        split = expert.ExpertParallel(mixture_of(active, n_expert), group, capacity)
        own_x = x.detach().chunk(ranks)[rank].clone().requires_grad_()
        own_y = split(own_x)
        (own_y * weights.chunk(ranks)[rank]).sum().backward()
        assert split.dropped == 0
        torch.testing.assert_close(own_y, y.chunk(ranks)[rank], **CLOSE)
        torch.testing.assert_close(own_x.grad, x.grad.chunk(ranks)[rank], **CLOSE)
        dist.all_reduce(split.router.weight.grad)
        torch.testing.assert_close(split.router.weight.grad, dense.router.weight.grad, **CLOSE)
        here = dense.experts[rank * n_expert // ranks :]
        assert len(split.experts) == n_expert // ranks
        for mine, theirs in zip(split.experts, here, strict=False):
            for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(p.grad, q.grad, **CLOSE)


@pytest.mark.parametrize(("ranks", "active", "n_expert"), [(2, 2, 4), (2, 1, 2), (4, 3, 8)])
def test_without_drops_it_is_the_dense_mixture(ranks, active, n_expert):
    parallel.run(check_equal, active, n_expert, ranks=ranks)


def check_dropped(capacity):
    """With one expert a token, what is kept is the dense output, and what is dropped is 0."""
    group = dist.group.WORLD
    dense = mixture_of(active=1)
    x = tokens_of(group.size()).chunk(group.size())[group.rank()]
    split = expert.ExpertParallel(dense, group, capacity)
    with traffic.Meter() as meter:
        y = split(x)
    chosen = dense.route(x.flatten(0, 1))[2].flatten().tolist()
    limit = math.ceil(capacity * len(chosen) / 4)
    kept = [i for i, e in enumerate(chosen) if chosen[:i].count(e) < limit]  # the earlier tokens
    wanted = torch.zeros_like(x).flatten(0, 1)
    wanted[kept] = dense(x).flatten(0, 1)[kept]
    torch.testing.assert_close(y.flatten(0, 1), wanted, **CLOSE)
    assert split.dropped == len(chosen) - len(kept)
    assert [name for name, _ in meter.calls] == 3 * ["all_to_all"]  # sizes, tokens, outputs
    return split.dropped


def test_what_is_dropped_gives_nothing_and_is_counted():
    tight, wide = (sum(parallel.run(check_dropped, c, ranks=2)) for c in (0.5, 1.0))
    assert tight >= 2 * TOKENS > wide > 0


def test_first_choices_go_first_and_then_earlier_tokens():
    chosen = torch.tensor([[0, 1], [0, 2], [2, 0], [0, 1]])
    kept, sizes = expert._dispatch(chosen, 4, limit=2)
    # expert 0: first choices of tokens 0, 1 (numbers 0, 2); 1: second ones of 0, 3; 2: 2, then 1
    assert kept.tolist() == [0, 2, 1, 7, 4, 3]
    assert sizes.tolist() == [2, 2, 2, 0]


@pytest.mark.parametrize(("capacity", "limit"), [(1.1, 55), (1.11, 56)])
def test_a_limit_is_the_even_share_times_the_factor_rounded_up(capacity, limit):
    """1.1 x 50 is a little more than 55 in floats."""

    def dropped():
        mixture = mixture_of(active=1)
        mixture.router.weight.data[:] = 0
        mixture.router.weight.data[0] = 1  # all 200 tokens choose expert 0
        split = expert.ExpertParallel(mixture, dist.group.WORLD, capacity)
        split(torch.ones(1, 200, 32))
        return split.dropped

    assert parallel.run(dropped, ranks=1) == [200 - limit]


def test_a_rank_without_tokens_works_under_a_limit():
    def nothing():
        split = expert.ExpertParallel(mixture_of(), dist.group.WORLD, 1.0)
        return split(tokens_of(1)[:, : TOKENS * dist.get_rank()]).shape

    assert parallel.run(nothing) == [(2, 0, 32), (2, TOKENS, 32)]
