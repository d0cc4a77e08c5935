"""Proves that ring attention is full causal attention, forward and backward, keeps nothing that
grows with the whole sequence, and sends the keys and values once round."""

import sys

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch.nn import functional as F

from modelscale import parallel
from modelscale.parallel import collectives, context, traffic

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def own_part(x, group):
    """This rank's tokens of (B, H, T, Q)."""
    return collectives.own_tokens(x, group, dim=2)


def inputs(tokens, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(2, 3, tokens, 8, generator=generator) for _ in range(4)]


def check_equal(tokens, scale, dtype):
    group = dist.group.WORLD
    *qkv, weights = (t.to(dtype) for t in inputs(tokens, scale))
    whole = [t.clone().requires_grad_() for t in qkv]
    y = F.scaled_dot_product_attention(*whole, is_causal=True)
    (y * weights).sum().backward()
    own = [own_part(t, group).requires_grad_() for t in qkv]
    mine = context.ring_attention(*own, group)
    (mine * own_part(weights, group)).sum().backward()
    torch.testing.assert_close(mine, own_part(y, group), **CLOSE)
    for got, wanted in zip(own, whole, strict=True):
        torch.testing.assert_close(got.grad, own_part(wanted.grad, group), **CLOSE)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ring_attention_is_full_attention(ranks):
    parallel.run(check_equal, 24, 1.0, torch.float32, ranks=ranks)


def test_scores_of_thousands_do_not_overflow():
    parallel.run(check_equal, 24, 40.0, torch.float64, ranks=2)  # exp(2000) is beyond float64


def kept_and_sent(tokens):
    """(bytes kept for the backward pass, bytes sent forward, bytes sent backward)."""
    group, kept = dist.group.WORLD, []
    own = [own_part(t, group).requires_grad_() for t in inputs(tokens)[:3]]

    def pack(t):
        kept.append(t.nbytes)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), traffic.Meter() as meter:
        y = context.ring_attention(*own, group)
        forward = meter.sent_bytes(group.size())
        y.sum().backward()
    return sum(kept), forward, meter.sent_bytes(group.size()) - forward


@pytest.mark.parametrize("ranks", [2, 4])
def test_what_is_kept_grows_with_the_own_tokens_alone(ranks):
    tokens = 64
    own_bytes = 2 * 3 * (tokens // ranks) * 8 * 4  # one of q, k, v
    kept, forward, backward = parallel.run(kept_and_sent, tokens, ranks=ranks)[0]
    assert kept == 4 * own_bytes + own_bytes // 8  # q, k, v, output; one number a query
    assert forward == (ranks - 1) * 2 * own_bytes
    assert backward == (ranks - 1) * 4 * own_bytes + 2 * own_bytes  # the gradients go home


def error_in_bfloat16():
    """The relative error of ring attention and of torch's own, of bfloat16 numbers."""
    group, (q, k, v, _) = dist.group.WORLD, inputs(256)
    y = F.scaled_dot_product_attention(*(t.bfloat16().double() for t in (q, k, v)), is_causal=True)
    whole = F.scaled_dot_product_attention(*(t.bfloat16() for t in (q, k, v)), is_causal=True)
    own = [own_part(t.bfloat16(), group) for t in (q, k, v)]
    wanted, torchs = (own_part(t, group).double() for t in (y, whole))
    mine = context.ring_attention(*own, group)
    assert mine.dtype == torch.bfloat16
    return [float((t.double() - wanted).norm() / wanted.norm()) for t in (mine, torchs)]


def test_merging_in_bfloat16_loses_no_more_than_one_process():
    for mine, torchs in parallel.run(error_in_bfloat16, ranks=2):
        assert mine < 1.2 * torchs < 0.01


def test_under_autocast_it_is_as_exact_as_outside():
    def both():
        q, k, v, _ = inputs(8)
        with torch.autocast("cpu", torch.bfloat16):
            return context.ring_attention(q, k, v, dist.group.WORLD), (q, k, v)

    y, qkv = parallel.run(both, ranks=1)[0]
    torch.testing.assert_close(y, F.scaled_dot_product_attention(*qkv, is_causal=True), **CLOSE)
