"""Proves that the perceptron of experts is what `count` says, its dense form included, and that
its routers learn to share the work in `fit`.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from modelscale import count, data, models
from modelscale.train import Recipe, fit
from test_models import counted_flops, n_params

SHAPE = count.MixtureMLP(depth=2, d_model=24, d_ff=40, n_expert=4)
SHAPES = [SHAPE, replace(SHAPE, n_expert=1), replace(SHAPE, n_expert_active=2, depth=1, n_out=3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_params_equal_the_sum_over_the_module(shape):
    network = models.build(shape)
    idle = sum(n_params(e) for b in network.blocks for e in getattr(b.mlp, "experts", ()))
    idle *= 1 - shape.n_expert_active / shape.n_expert
    assert shape.params == n_params(network)
    assert shape.params_active == n_params(network) - idle


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_equal_the_flop_counter(shape, training):
    assert shape.matmul_flops(3, training) == counted_flops(models.build(shape), training)
    assert shape.train_flops(12) == 4 * shape.matmul_flops(3, training=True)


def test_with_one_expert_it_is_a_residual_mlp():
    network, x = models.build(replace(SHAPE, n_expert=1, depth=1)), torch.randn(5, 40)
    h, block = network.stem(x), network.blocks[0]
    up, down = block.mlp.up, block.mlp.down
    h = h + F.linear(F.relu(up(block.norm(h))), down.weight, down.bias)
    assert torch.equal(network(x), network.head(network.norm(h)))


def test_the_balance_loss_shares_the_work():
    task, least = data.signals(1000, 200), {}
    for balance in (0.0, 0.1):
        network = models.build(replace(SHAPE, n_expert=8))
        for router in (block.mlp.router for block in network.blocks):  # it begins with favourites
            with torch.no_grad():
                router.weight.copy_(torch.linspace(0.6, 3, 8)[:, None] * router.weight[:1])
        fit(network, task, Recipe(steps=100, lr=1e-2, records=1, balance=balance))
        loads = models.expert_load(network, task.x_test)
        assert loads.sum(1) == pytest.approx(torch.ones(2))
        least[balance] = loads.min(1).values
    assert (least[0.0] < 0.03).all() and (least[0.1] > 0.04).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(SHAPE, n_expert_active=5), "^n_expert_active=5.*at most 4"),
        (lambda: replace(SHAPE, d_ff=0), "^d_ff=0"),
        (lambda: models.build(SHAPE).for_training("full"), "^recompute='full'.*GPT alone"),
        (lambda: models.build(SHAPE).for_training(balance=-1), "^balance=-1"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()
