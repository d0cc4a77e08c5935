"""Proves that generating with a cache of keys and values gives what generating without it gives.

The same tokens and logits for every kind of GPT; the cache has the bytes and both ways have the
FLOPs that `count` says.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from modelscale import count, models
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


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cache_changes_no_token(shape):
    net, tokens = network(shape), prompt()
    for settings in ({}, {"temperature": 1.0, "seed": 3}):
        cached, plain = (models.generate(net, tokens, 19, on, **settings) for on in (True, False))
        assert torch.equal(cached, plain)
        assert cached.shape == (2, 24) and torch.equal(cached[:, :5], tokens)
        assert len(cached[:, 5:].unique()) > 2  # not one token for ever


@pytest.mark.parametrize("split", [(5, 19), (5, 1, 1, 17), (1, 4, 3, 1, 15), (24,)], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_the_same_in_any_pieces(shape, split):
    net, tokens = network(shape), prompt(length=24)
    cache = models.Cache(shape, 2, 24, net.embed.weight)
    with torch.no_grad():
        pieces = [net(piece, cache) for piece in tokens.split(split, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), net(tokens), atol=1e-5, rtol=1e-5)
    assert cache.used == 24


def test_greedy_takes_the_likeliest_token_of_the_whole_sequence():
    net, tokens = network(GPTS[0]), prompt()
    made = models.generate(net, tokens, 8)
    for end in range(5, 13):
        with torch.no_grad():
            assert torch.equal(net(made[:, :end])[:, -1].argmax(-1), made[:, end])


def test_draws_follow_the_probabilities_and_the_seed():
    net, tokens = network(GPTS[0]), prompt(1).expand(4000, -1)
    drawn = models.generate(net, tokens, 1, temperature=1.0)[:, -1]
    with torch.no_grad():
        probabilities = net(tokens[:1])[0, -1].softmax(-1)
    shares = torch.bincount(drawn, minlength=61) / 4000
    assert (shares - probabilities).abs().max() < 0.03  # four standard deviations and more
    again, other = (models.generate(net, tokens, 1, temperature=1.0, seed=s)[:, -1] for s in (0, 1))
    assert torch.equal(drawn, again) and not torch.equal(drawn, other)
    cold = models.generate(net, tokens[:1], 8, temperature=1e-4)
    assert torch.equal(cold, models.generate(net, tokens[:1], 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_cache_has_the_bytes_of_count(shape, dtype):
    cache = models.Cache(shape, 3, 11, torch.empty(0, dtype=dtype))
    assert cache.nbytes == count.kv_cache_bytes(shape, 3, 11, dtype.itemsize)
    storages = {t.untyped_storage() for layer in cache.layers for t in (layer.keys, layer.values)}
    assert cache.nbytes == sum(storage.nbytes() for storage in storages)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_flops_equal_the_flop_counter(shape, cache):
    net, tokens = network(shape), prompt()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        models.generate(net, tokens, 14, cache)
    assert counter.get_total_flops() == count.generate_flops(shape, 5, 14, cache, batch=2)


def test_a_cache_saves_more_the_more_is_generated():
    ratios = [
        count.generate_flops(GPTS[0], 4, n, cache=False) / count.generate_flops(GPTS[0], 4, n)
        for n in (1, 5, 10, 20)
    ]
    assert ratios[0] == 1 and ratios == sorted(set(ratios)) and ratios[-1] > 5


def test_generation_leaves_the_network_as_it_was():
    net = network(GPTS[0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = models.generate(net, prompt(), 5)
    net(made).sum().backward()  # what was made can be trained on
    assert net.embed.weight.grad.abs().max() > 0
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: models.generate(net, prompt(), 20), "^n=20: .*at most 19.*context=24"),
        (lambda net: models.generate(net, prompt(), 0), "^n=0"),
        (lambda net: models.generate(net, prompt()[0], 3), r"shape \(5,\).*tokens\[None\]"),
        (lambda net: models.generate(net, prompt(length=0), 3), r"shape \(2, 0\)"),
        (lambda net: models.generate(net, prompt(), 3, temperature=-1.0), "^temperature=-1.0"),
        (lambda net: models.generate(net, prompt(), 3, seed=-1), "^seed=-1"),
        (lambda net: models.generate(net, prompt(), 3, cache="on"), "^cache='on'"),
        (lambda net: models.Cache(net.shape, 0, 4, net.embed.weight), "^batch=0"),
        (lambda net: models.Cache(net.shape, 1, 25, net.embed.weight), "^length=25.*at most 24"),
        (lambda net: count.generate_flops(net.shape, 5, 20), "^n=20: .*at most 19.*context=24"),
        (lambda net: count.generate_flops(net.shape, 25, 1), "^prompt=25"),
        (lambda net: count.generate_flops(net.shape, 5, 0), "^n=0"),
        (lambda net: count.generate_flops(net.shape, 5, 1, batch=0), "^batch=0"),
        (lambda net: count.generate_flops(net.shape, 5, 1, cache=2), "^cache=2"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call(network(GPTS[0]))


def test_tokens_beyond_a_full_cache_are_refused():
    net = network(GPTS[0])
    cache = models.Cache(net.shape, 2, 6, net.embed.weight)
    with torch.no_grad(), pytest.raises(ValueError, match=r"^length=6: .*was given 10"):
        net(prompt(), cache), net(prompt(), cache)
