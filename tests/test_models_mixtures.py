"""Proves that a perceptron of one expert is a residual MLP, and that routers learn to share the
work in `fit`.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from modelscale import count, data, models
from modelscale.train import Recipe, fit
from test_models_experts import expert_load

SHAPE = count.MixtureMLP(depth=2, d_model=24, d_ff=40, n_expert=4)


def test_with_one_expert_it_is_a_residual_mlp():
    network, x = models.build(replace(SHAPE, n_expert=1, depth=1)), torch.randn(5, 40)
    h, block = network.stem(x), network.blocks[0]
    up, _, down = block.mlp
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
        loads = expert_load(network, task.x_test)
        assert loads.sum(1) == pytest.approx(torch.ones(2))
        least[balance] = loads.min(1).values
    assert (least[0.0] < 0.03).all() and (least[0.1] > 0.04).all()
