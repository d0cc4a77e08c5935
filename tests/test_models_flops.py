"""Proves that FLOPs counted on a copy without numbers are those of the network that computes.

They equal the closed forms, those of torch's counter on the real network, and counts by hand; what
is frozen, stored in integers or stored sparsely costs what it does.
"""

from dataclasses import replace

import pytest
import torch

from modelscale import compress, count, data, models, transfer
from modelscale.train import Recipe, fit
from test_models import GPTS, NETS, counted_flops

GPT = count.Transformer(n_layer=1, d_model=16, n_head=2, vocab_size=61, context=12)
EXPERTS = {"n_expert": 4, "n_expert_active": 2}
MIXTURE = count.MixtureMLP(depth=2, d_model=24, d_ff=40, **EXPERTS)
IMAGES = [
    count.ConvNet2d(),
    count.ConvNet2d(depth=1, width=5, size=7, n_out=3),
    count.ConvNet2d(depth=4, width=2, n_out=37),
]
COUNTED_ONLY = [*IMAGES, MIXTURE, replace(MIXTURE, n_expert=1, n_expert_active=1)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [*NETS, GPTS[0], GPTS[1], replace(GPT, **EXPERTS)], ids=str)
def test_they_equal_the_closed_forms(shape, training):
    model, x = models.build(shape), models.one_sample(shape)
    tokens = (x.numel(), x.numel()) if isinstance(shape, count.Transformer) else (1,)
    assert models.counted_flops(model, x, training) == shape.matmul_flops(*tokens, training)
    assert all(p.grad is None and not p.is_meta for p in model.parameters())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", COUNTED_ONLY, ids=str)
def test_they_equal_those_of_the_network_that_computes(shape, training):
    model = models.build(shape)
    x = models.one_sample(shape).expand(3, *[-1] * models.one_sample(shape)[0].dim())
    assert models.counted_flops(model, x, training) == counted_flops(model, training, batch=3)


@pytest.mark.parametrize("shape", [IMAGES[0], MIXTURE], ids=str)
def test_a_history_has_them_where_there_is_no_closed_form(shape):
    task = data.digits(size=16) if shape in IMAGES else data.signals(100, 50)
    model = models.build(shape)
    history = fit(model, task, Recipe(steps=3, batch_size=5, records=1))
    assert history.flops == [15 * models.counted_flops(model, models.one_sample(shape), True)]


def test_an_image_conv_net_by_hand():
    shape = count.ConvNet2d(depth=2, width=3, size=8)
    first, second, head = 8 * 8 * 1 * 3 * 9, 4 * 4 * 3 * 6 * 9, 6 * 2 * 2 * 10
    model, x = models.build(shape), models.one_sample(shape)
    assert models.counted_flops(model, x) == 2 * (first + second + head)
    assert models.counted_flops(model, x, True) == 2 * (2 * first + 3 * second + 3 * head)


def test_a_mixture_by_hand():
    router, expert = 24 * 4, 2 * 24 * 40
    products = 40 * 24 + 2 * (router + 2 * expert) + 24 * 10
    assert models.counted_flops(models.build(MIXTURE), models.one_sample(MIXTURE)) == 2 * products


@pytest.mark.parametrize("shape", [count.MLP(2, 24), count.ConvNet(3, 8), GPT])
def test_integers_count_as_many_and_zeros_that_are_skipped_none(shape):
    model, x = models.build(shape), models.one_sample(shape)
    cut = compress.prune(model, 0.9)
    full = models.counted_flops(model, x)
    assert models.counted_flops(compress.int8(model), x) == models.counted_flops(cut, x) == full
    layers = compress.layers.linear(cut).values()
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
    rows = x.numel() if shape is GPT else 1
    assert full - models.counted_flops(compress.sparse(cut), x) == 2 * zeros * rows > 0


def test_a_frozen_beginning_has_no_backward_pass():
    model = transfer.freeze(models.build(count.MLP(2, 12)), 1)
    products = 40 * 12 + 12 * 12 + 12 * 10  # forward
    products += 12 * 12 + 2 * 12 * 10  # weights of two layers, the input of the last
    assert models.counted_flops(model, models.one_sample(model.shape), True) == 2 * products


def test_counting_draws_no_random_numbers():
    before = torch.get_rng_state()
    models.counted_flops(models.build(MIXTURE), models.one_sample(MIXTURE), True)
    assert torch.equal(torch.get_rng_state(), before)
