"""Proves that LoRA starts as no change, trains A and B alone, and merges into equal weights.

With the same A and B, `peft` gives the same outputs, gradients and merged weights, and after five
steps of SGD the same adapters. That package is a tool of the tests alone.
"""

import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from modelscale import count, data, models, train, transfer
from reuse import GPT, NETS, changed, data_for, n_trained, weights

KINDS = NETS | {"GPT": GPT}
RECIPE = train.Recipe(steps=6, batch_size=20, lr=0.01, records=1)


def inputs(shape, n=4):
    generator = torch.Generator().manual_seed(1)
    if isinstance(shape, count.Transformer):
        return torch.randint(shape.vocab_size, (n, shape.context), generator=generator)
    size = (1, shape.size, shape.size) if hasattr(shape, "size") else (shape.n_in,)
    return torch.randn(n, *size, generator=generator)


def shaken(model, seed=0):
    """`model` with numbers in every B, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in model.modules():
            if hasattr(part, "delta"):
                part.B.normal_(std=0.3, generator=generator)
    return model


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def shape(request):
    return request.param


def test_adapters_start_as_no_change_and_the_model_stays_plain(shape):
    model, x = models.build(shape), inputs(shape)
    adapted = transfer.add_lora(model, rank=2)
    assert torch.equal(adapted(x), model(x))
    assert not any(hasattr(part, "delta") for part in model.modules())
    assert n_trained(model) == shape.params
    assert not torch.allclose(shaken(adapted)(x), model(x), atol=1e-2)


def test_merged_outputs_are_equal_and_parameters_as_before(shape):
    adapted, x = shaken(transfer.add_lora(models.build(shape), rank=3)), inputs(shape)
    merged = transfer.merge(adapted)
    torch.testing.assert_close(merged(x), adapted(x), atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in merged.parameters()) == shape.params
    assert n_trained(merged) == shape.params
    names = [name for name, _ in models.build(shape).named_parameters()]
    assert [name for name, _ in merged.named_parameters()] == names
    assert any(hasattr(part, "delta") for part in adapted.modules())


def test_the_formula_on_one_layer():
    model = models.build(count.MLP(1, 5, n_in=7))
    layer, x = model.layers[0], torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    lora = shaken(transfer.add_lora(model, rank=2)).layers[0]
    expected = x @ layer.weight.T + layer.bias + (x @ lora.A.T) @ lora.B.T
    torch.testing.assert_close(lora(x), expected)
    torch.testing.assert_close(lora.delta(), lora.B @ lora.A)
    assert torch.linalg.matrix_rank(lora.delta()) == 2


@pytest.mark.parametrize("shape", NETS.values(), ids=NETS)
def test_only_adapters_and_head_are_trained(shape):
    adapted = transfer.add_lora(models.build(shape), rank=2)
    before, head = weights(adapted), transfer.stages(adapted)[-1]
    train.fit(adapted, data_for(shape), RECIPE)
    moved = changed(adapted, before)
    assert moved == {n for n in before if n.startswith(head) or n.endswith((".A", ".B"))}
    assert n_trained(adapted) == sum(before[n].numel() for n in moved)


def test_a_gpt_trains_its_adapters_alone_and_learns():
    adapted = transfer.add_lora(models.build(GPT), rank=4)
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert all(name.endswith((".A", ".B")) for name in trained)
    per_layer = 4 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))  # qkv, out, up, down
    assert n_trained(adapted) == 2 * per_layer
    recipe = replace(RECIPE, steps=40, lr=0.03, records=2)
    history = train.fit(adapted, data.text(), recipe)
    assert history.loss[-1] < history.loss[0]


def test_many_adapted_networks_train_as_each_alone():
    recipe = replace(RECIPE, optimizer="sgd", steps=4)
    samples = data.signals(60, 100)
    make = lambda: [transfer.add_lora(models.build(NETS["MLP"], s), 2, seed=s) for s in (0, 1)]  # noqa: E731
    together, alone = make(), make()
    train.fit_many(together, samples, recipe)
    for seed, (member, model) in enumerate(zip(together, alone, strict=True)):
        train.fit(model, samples, recipe, seed)
        for a, b in zip(member.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_the_seed_draws_A():
    first, again, other = (
        transfer.add_lora(models.build(NETS["MLP"]), 2, seed=seed).layers[0].A for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    wide = transfer.add_lora(models.build(count.MLP(1, 50, n_in=1000)), 8).layers[0]
    assert wide.A.std().item() == pytest.approx(1000**-0.5, rel=0.1)


def peft_twin(shape, rank=3):
    """(ours, theirs): one network adapted by both, with the same A and B."""
    with warnings.catch_warnings():  # of its own imports, not of the code under test
        warnings.simplefilter("ignore")
        peft = pytest.importorskip("peft", reason="pip install 'modelscale[test]'")
    ours = shaken(transfer.add_lora(models.build(shape), rank))
    adapters = {n: part for n, part in ours.named_modules() if hasattr(part, "delta")}
    head = transfer.stages(ours)[-1]
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        target_modules=list(adapters),
        modules_to_save=[head] if hasattr(shape, "n_out") else None,
    )
    theirs = peft.LoraModel(models.build(shape), config, "default")
    with torch.no_grad():
        for name, adapter in adapters.items():
            part = theirs.model.get_submodule(name)
            part.lora_A["default"].weight.copy_(adapter.A)
            part.lora_B["default"].weight.copy_(adapter.B)
    if hasattr(shape, "n_out"):
        theirs.model.get_submodule(head).requires_grad_(True)
    return ours, theirs, list(adapters)


@pytest.mark.parametrize("name", ["MLP", "ConvNet2d", "GPT"])
def test_peft_gives_the_same_outputs_five_steps_and_merged_weights(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ours, theirs, names = peft_twin(KINDS[name])
    start, x = weights(ours), inputs(KINDS[name])
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
    for model in (ours, theirs):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            logits = model(x)
            logits = logits.flatten(0, -2)
            F.cross_entropy(logits, torch.zeros(len(logits)).long()).backward()
            optimizer.step()
    for adapted in names:
        mine, other = ours.get_submodule(adapted), theirs.model.get_submodule(adapted)
        for part in "AB":
            assert not torch.allclose(getattr(mine, part), start[f"{adapted}.{part}"])
            expected = getattr(other, f"lora_{part}")["default"].weight
            torch.testing.assert_close(getattr(mine, part), expected, atol=1e-6, rtol=1e-4)
    merged, other = transfer.merge(ours), theirs.merge_and_unload()
    for adapted in names:
        expected = other.get_submodule(adapted).weight
        torch.testing.assert_close(merged.get_submodule(adapted).weight, expected)
