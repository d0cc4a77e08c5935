"""Proves that a tail trained on features is the frozen whole after the same training."""

import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from modelscale import models, train, transfer
from reuse import NETS, data_for

CUTS = [
    pytest.param(NETS[name], n, id=f"{name}-{n}")
    for name in ("ConvNet", "ConvNet2d")
    for n in range(1, NETS[name].depth + 1)
]
SGD = train.Recipe(steps=12, batch_size=20, lr=0.05, optimizer="sgd", records=2)


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_the_tail_after_the_frozen_stages_is_the_network(shape, n):
    model, samples = models.build(shape), data_for(shape)
    tail, cut = transfer.features(model, n, samples)
    torch.testing.assert_close(tail(cut.x_test), model(samples.x_test))
    assert torch.equal(cut.y_train, samples.y_train) and not cut.x_train.requires_grad
    assert {id(p) for p in tail.parameters()} == {
        id(p) for p in model.parameters() if p.requires_grad
    }


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_training_the_tail_is_training_the_frozen_whole(shape, n):
    model, whole, samples = models.build(shape), models.build(shape), data_for(shape)
    short = train.fit(*transfer.features(model, n, samples), SGD)
    full = train.fit(transfer.freeze(whole, n), samples, SGD)
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    assert short.accuracy == pytest.approx(full.accuracy)


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_many_tails_train_as_each_alone(shape, n):
    nets = [models.build(shape) for _ in range(4)]
    tails, sets = zip(*(transfer.features(net, n, data_for(shape)) for net in nets), strict=True)
    train.fit_many(tails[:2], sets[0], SGD, lrs=[0.05, 0.01])
    for seed, lr in enumerate([0.05, 0.01]):
        train.fit(tails[2 + seed], sets[0], replace(SGD, lr=lr), seed)
        for a, b in zip(nets[seed].parameters(), nets[2 + seed].parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_flops_of_the_tail_are_those_of_the_counter(shape, n):
    model, samples = models.build(shape), data_for(shape)
    tail, cut = transfer.features(model, n, samples)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(tail(cut.x_train[:5]), samples.y_train[:5]).backward()
    assert tail.shape.matmul_flops(5, True) == counter.get_total_flops()
    whole = models.counted_flops(model, models.one_sample(shape))
    forward = whole - tail.shape.matmul_flops(1)  # through the frozen stages, each time
    assert models.counted_flops(
        model, models.one_sample(shape), True
    ) == forward + tail.shape.matmul_flops(1, True)


def test_the_features_of_a_large_set_are_those_of_its_pieces(monkeypatch):
    samples = data_for(NETS["ConvNet"])
    _, whole = transfer.features(models.build(NETS["ConvNet"]), 1, samples)
    monkeypatch.setattr(sys.modules["modelscale.transfer.stages"], "CHUNK", 7)
    _, pieces = transfer.features(models.build(NETS["ConvNet"]), 1, samples)
    torch.testing.assert_close(pieces.x_train, whole.x_train)
