"""Proves that a tail trained on features, joined, is the frozen whole after the same training."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from modelscale import count, data, models, train, transfer

NETS = [
    count.MLP(2, 12),
    count.MLP(3, 12, residual=True),
    count.ConvNet(2, 4),
    count.ConvNet2d(depth=2, width=3, size=8),
]
CUTS = [
    pytest.param(shape, n, id=f"{type(shape).__name__}-{n}")
    for shape in NETS
    for n in range(1, len(transfer.stages(models.build(shape))))
]
SGD = train.Recipe(steps=12, batch_size=20, lr=0.05, optimizer="sgd", records=2)


def data_for(shape):
    images = isinstance(shape, count.ConvNet2d)
    return data.digits().subset(60) if images else data.signals(60, 100)


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_the_tail_after_the_prefix_is_the_network(shape, n):
    model = models.build(shape)
    samples = data_for(shape)
    prefix, tail = transfer.split(model, n)
    cut = transfer.features(prefix, samples)
    torch.testing.assert_close(tail(cut.x_test), model(samples.x_test))
    assert torch.equal(cut.y_train, samples.y_train)
    assert cut.n_classes == samples.n_classes
    assert not cut.x_train.requires_grad
    for a, b in zip(transfer.join(prefix, tail).parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a is not b


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_training_the_tail_is_training_the_frozen_whole(shape, n):
    model, samples = models.build(shape), data_for(shape)
    prefix, tail = transfer.split(model, n)
    before = [p.detach().clone() for p in model.parameters()]
    cut = transfer.features(prefix, samples)
    short = train.fit(tail, cut, SGD)
    for a, b in zip(model.parameters(), before, strict=True):
        assert torch.equal(a, b)  # the model itself is not touched
    full = train.fit(transfer.freeze(model, n), samples, SGD)
    for a, b in zip(transfer.join(prefix, tail).parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    assert short.accuracy == pytest.approx(full.accuracy)


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_many_tails_train_as_each_alone(shape, n):
    prefix, first = transfer.split(models.build(shape), n)
    tails = [first, transfer.split(models.build(shape), n)[1]]
    alone = [transfer.split(transfer.join(prefix, tail), n)[1] for tail in tails]
    cut = transfer.features(prefix, data_for(shape))
    train.fit_many(tails, cut, SGD, lrs=[0.05, 0.01])
    for seed, lr in enumerate([0.05, 0.01]):
        train.fit(alone[seed], cut, replace(SGD, lr=lr), seed)
        for a, b in zip(tails[seed].parameters(), alone[seed].parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("shape", "n"), CUTS)
def test_flops_of_the_tail_are_those_of_the_counter(shape, n):
    model, samples = models.build(shape), data_for(shape)
    prefix, tail = transfer.split(model, n)
    x = transfer.features(prefix, samples).x_train[:5]
    with FlopCounterMode(display=False) as counter:
        train.loop.cross_entropy(tail(x), samples.y_train[:5]).backward()
    assert tail.shape.matmul_flops(5, training=True) == counter.get_total_flops()
    assert transfer.train_flops(tail, 5) == tail.shape.train_flops(5) == counter.get_total_flops()
    whole = models.counted_flops(model, models.one_sample(shape))
    forward = whole - tail.shape.matmul_flops(1)  # through the prefix, each time
    frozen = transfer.train_flops(transfer.freeze(model, n), 1)
    assert frozen == forward + tail.shape.train_flops(1)


def test_the_features_of_a_large_set_are_those_of_its_pieces(monkeypatch):
    prefix, _ = transfer.split(models.build(NETS[0]), 1)
    samples = data_for(NETS[0])
    whole = transfer.features(prefix, samples).x_train
    monkeypatch.setattr("modelscale.transfer.prefix.CHUNK", 7)
    torch.testing.assert_close(transfer.features(prefix, samples).x_train, whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: transfer.split(m, 0), "^n=0: .*at least 1"),
        (lambda m: transfer.split(m, 3), "^n=3: .*at most 2"),
        (lambda m: transfer.split(transfer.add_lora(m, 2), 1), "LoRA"),
        (
            lambda m: transfer.join(transfer.split(m, 1)[0], transfer.split(m, 2)[1]),
            "^prefix has 1 stages: it must have 2",
        ),
        (
            lambda m: transfer.split(models.build(count.Transformer(1, 8, 2, 9, 4)), 1),
            "a GPT: .*classifier",
        ),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call(models.build(NETS[0]))
