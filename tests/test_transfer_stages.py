"""Proves that networks are taken apart in order, get fresh heads, and train as far as not frozen.

Frozen parameters stay as they are bit by bit under weight decay, in `fit` and in `fit_many`; the
gradient is clipped over the trained ones alone; and the FLOPs are those the counter sees.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from modelscale import data, models, train, transfer
from modelscale.train.scoring import _step_flops
from reuse import GPT, NETS, changed, data_for, n_trained, weights

RECIPE = train.Recipe(steps=8, batch_size=20, weight_decay=0.3, records=2)
MLP, CONV = NETS["MLP"], NETS["ConvNet"]


@pytest.fixture(params=NETS.values(), ids=NETS)
def shape(request):
    return request.param


def test_stages_are_named_from_input_to_head():
    names = [transfer.stages(models.build(shape)) for shape in [*NETS.values(), GPT]]
    assert names == [
        ["layers.0", "layers.1", "layers.2"],
        ["stem", "blocks.0", "blocks.1", "norm", "head"],
        ["convs.0", "convs.1", "convs.2", "head"],
        ["convs.0", "convs.1", "head"],
        ["embed", "blocks.0", "blocks.1", "norm", "head"],
    ]


def test_stages_hold_every_parameter_once_and_in_order(shape):
    model = models.build(shape)
    parts = [p for name in transfer.stages(model) for p in model.get_submodule(name).parameters()]
    for part, parameter in zip(parts, model.parameters(), strict=True):
        assert part is parameter


def test_an_adapted_network_keeps_its_body_and_gets_a_head(shape):
    model = models.build(shape)
    adapted = transfer.adapt(transfer.freeze(model, 1), n_out=7, seed=3)
    head = transfer.stages(adapted)[-1]
    assert adapted.shape == replace(shape, n_out=7)
    assert adapted.get_submodule(head).weight.shape[0] == 7
    assert n_trained(adapted) == replace(shape, n_out=7).params
    for name, parameter in adapted.named_parameters():
        if not name.startswith(head):
            assert torch.equal(parameter, model.get_parameter(name)), name
            assert parameter is not model.get_parameter(name)
    heads = [transfer.adapt(model, shape.n_out, seed).get_submodule(head).weight for seed in (0, 1)]
    assert not torch.equal(*heads)
    assert not torch.equal(heads[1], model.get_submodule(head).weight)


def test_a_kept_head_answers_the_old_classes_as_before(shape):
    model = models.build(shape)
    x = data_for(shape).x_test[:9]
    wider = transfer.adapt(model, shape.n_out + 4, keep=True)
    torch.testing.assert_close(wider(x)[:, : shape.n_out], model(x))


def test_frozen_stages_stay_bit_by_bit_and_the_others_learn(shape):
    samples = data_for(shape)
    for n in range(len(transfer.stages(models.build(shape)))):
        model = transfer.freeze(models.build(shape), n)
        before, names = weights(model), transfer.stages(model)
        trained = {key for key in before if not key.startswith(tuple(names[:n]))}
        train.fit(model, samples, RECIPE)
        assert changed(model, before) == trained, n
        assert n_trained(model) == sum(before[key].numel() for key in trained)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_many_frozen_networks_train_as_each_alone(shape, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, lr=3e-3, clip=0.1, steps=4)
    samples = data_for(shape)
    together, alone = ([transfer.freeze(models.build(shape, s), 2) for s in (3, 4)] for _ in "ab")
    before = [weights(model) for model in together]
    train.fit_many(together, samples, recipe)
    for seed, (member, model) in enumerate(zip(together, alone, strict=True)):
        train.fit(model, samples, recipe, seed)
        assert changed(member, before[seed]) == changed(model, before[seed]) != set()
        for a, b in zip(member.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_clipping_and_optimizer_know_the_trained_parameters_alone():
    model = models.build(MLP)
    x, y = torch.randn(20, 40), torch.randint(10, (20,))
    F.cross_entropy(model(x), y).backward()  # an earlier gradient, kept by all
    transfer.freeze(model, 2)
    recipe = train.Recipe(optimizer="sgd", lr=1.0, weight_decay=0.0, clip=1e-3)
    optimizer = train.loop.make_optimizer(train.loop._param_groups(model, recipe, None), recipe)
    before = weights(model)
    train.loop.train_step(model, optimizer, x, y, recipe)
    steps = [(p - before[name]).norm() for name, p in model.named_parameters()]
    assert torch.stack(steps).norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    assert len(optimizer.state) == 2


def test_learning_rate_factors_of_a_frozen_network():
    model = transfer.freeze(models.build(MLP), 1)
    factors = {name: 0.5 for name in weights(model)}
    twins = [transfer.freeze(models.build(MLP), 1) for _ in range(2)]
    before = weights(model)
    samples = data_for(MLP)
    train.fit(model, samples, RECIPE, lr_factors=factors)
    train.fit_many(twins, samples, RECIPE, seeds=[0, 0], lr_factors=factors)
    assert changed(model, before) == {n for n in before if not n.startswith("layers.0")}
    for a, b in zip(model.parameters(), twins[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_gpt_freezes_its_positions_and_a_tied_head_with_the_embedding():
    model = transfer.freeze(models.build(GPT), 2)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("embed", "position", "head", "blocks.0")) for name in trained)
    assert any(name.startswith("blocks.1") for name in trained)
    text = data.text()
    before = weights(model)
    train.fit(model, text, replace(RECIPE, batch_size=4, steps=2))
    assert changed(model, before) == trained
    untied = transfer.freeze(models.build(replace(GPT, tied=False)), 4)
    assert n_trained(untied) == 16 * 256


def test_flops_fall_with_every_frozen_stage_from_all_to_the_head_alone(shape):
    model = models.build(shape)
    names = transfer.stages(model)
    flops = [
        10 * models.counted_flops(transfer.freeze(model, n), models.one_sample(shape), True)
        for n in range(len(names))
    ]
    forward = 10 * models.counted_flops(model, models.one_sample(shape))
    head = 2 * 10 * model.get_submodule(names[-1]).weight.numel()
    assert (flops[0], flops[-1]) == (_step_flops(shape, 10), forward + head)
    assert all(more >= fewer for more, fewer in pairwise(flops))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, g: transfer.adapt(g, 5), "'GPT': .*classifier.*add_lora"),
        (lambda m, g: transfer.adapt(m, 1), "^n_out=1"),
        (lambda m, g: transfer.adapt(m, 9, keep=True), "^n_out=9: .*at least 10"),
        (lambda m, g: transfer.freeze(m, 3), "^n=3: .*at most 2.*head"),
        (lambda m, g: transfer.freeze(m, -1), "^n=-1"),
        (lambda m, g: transfer.freeze(g, 4), "^n=4: .*at most 3.*tied=False"),
        (lambda m, g: transfer.freeze(transfer.add_lora(m, 2), 1), "LoRA.*merge"),
        (lambda m, g: transfer.add_lora(m, 13), "^rank=13: .*at most 12.*maps 40 numbers to 12"),
        (lambda m, g: transfer.add_lora(transfer.add_lora(m, 2), 2), "LoRA.*merge"),
        (lambda m, g: transfer.merge(m), "adapters of the model=0: .*Call add_lora"),
        (lambda m, g: transfer.features(models.build(CONV), 0, None), "^n=0: .*at least 1"),
        (lambda m, g: transfer.features(models.build(CONV), 4, None), "^n=4: .*at most 3"),
        (lambda m, g: transfer.features(m, 1, None), "'MLP': .*a conv net. Freeze"),
        (
            lambda m, g: train.fit(m.requires_grad_(False), data_for(m.shape), RECIPE),
            "trained parameters=0",
        ),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call(models.build(MLP), models.build(GPT))


def test_networks_frozen_in_different_places_are_not_trained_together():
    unequal = [transfer.freeze(models.build(MLP), n) for n in (0, 1)]
    with pytest.raises(ValueError, match="the same parts frozen"):
        train.fit_many(unequal, data_for(MLP), RECIPE)
