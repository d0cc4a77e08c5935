"""Proves that a cache of keys and values changes no token and no logit, for every kind of GPT, and
has the bytes that `count` says.
"""

from dataclasses import replace

import pytest
import torch

from modelscale import models
from test_models import GPTS

EXPERTS = {"n_expert": 4, "n_expert_active": 2}
SHAPES = [*GPTS[:-1], *(replace(shape, **EXPERTS) for shape in GPTS[:2])]


def network(shape, seed=0):
    """A GPT whose attention looks around, as a trained one's does."""
    net = models.build(shape, seed)
    generator = torch.Generator().manual_seed(seed)
    for block in net.blocks:
        torch.nn.init.normal_(block.attention.qkv.weight, std=0.5, generator=generator)
    return net


def prompt(batch=2, length=5):
    return torch.randint(61, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def written(net, text, n, cache=None):
    """`text` and the `n` likeliest tokens after it, those in the cache not fed again."""
    new = text
    for _ in range(n):
        logits = net(text) if cache is None else net(new, cache)
        new = logits[:, -1].argmax(-1, keepdim=True)
        text = torch.cat((text, new), 1)
    return text


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cache_changes_no_token(shape):
    net = network(shape)
    cache = models.Cache(shape, 2, 24, net.embed.weight)
    plain = written(net, prompt(), 19)
    assert torch.equal(written(net, prompt(), 19, cache), plain)
    assert len(plain[:, 5:].unique()) > 2  # not one token for ever


@pytest.mark.parametrize("split", [(5, 19), (5, 1, 1, 17), (1, 4, 3, 1, 15), (24,)], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_the_same_in_any_pieces(shape, split):
    net, tokens = network(shape), prompt(length=24)
    cache = models.Cache(shape, 2, 24, net.embed.weight)
    with torch.no_grad():
        pieces = [net(piece, cache) for piece in tokens.split(split, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), net(tokens), atol=1e-5, rtol=1e-5)
    assert cache.used == 24


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_cache_has_the_bytes_of_count(shape, dtype):
    cache = models.Cache(shape, 3, 11, torch.empty(0, dtype=dtype))
    assert cache.nbytes == 2 * shape.n_layer * 3 * 11 * shape.kv_width * dtype.itemsize
    assert cache.nbytes == cache.layers.untyped_storage().nbytes()


def full(net):
    cache = models.Cache(net.shape, 2, 6, net.embed.weight)
    with torch.no_grad():
        net(prompt(), cache), net(prompt(), cache)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: models.Cache(net.shape, 0, 4, net.embed.weight), "^batch=0"),
        (lambda net: models.Cache(net.shape, 1, 25, net.embed.weight), "^length=25.*at most 24"),
        (full, "^length=6: .*10 were to be kept"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call(network(GPTS[0]))
