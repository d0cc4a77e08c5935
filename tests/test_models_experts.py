"""Proves that a mixture of experts is a dense sum over all experts, and is what `count` says.

Outputs and gradients equal the loop over every expert; parameters, FLOPs and saved bytes equal the
closed forms; the balance loss is Switch's, evens the loads out, and leaves dense networks alone.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from modelscale import count, data, models
from modelscale.count.operations import training_step
from modelscale.models.experts import _balance_loss
from modelscale.train import Recipe, evaluate, fit
from modelscale.train.loop import make_optimizer, train_step
from test_models import GPTS, counted_flops, hooked_bytes, n_params

GPT = count.Transformer(2, 32, 4, 61, 24, n_expert=4, n_expert_active=2)
ROUTES = [(4, 2), (3, 1), (5, 5)]  # experts, and how many of them a token goes through
SHAPES = [
    replace(shape, n_expert=n_expert, n_expert_active=active)
    for shape in GPTS
    for n_expert, active in ROUTES
]
TEXT = data.text(200_000, source="synthetic")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def mixture_of(**changes):
    """The mixture of a one-layer GPT, with a router that makes up its mind."""
    mixture = models.build(replace(GPT, n_layer=1, **changes)).blocks[0].mlp
    torch.nn.init.normal_(mixture.router.weight)
    return mixture


def expert_load(net, tokens):
    """The share of the choices that falls on each expert: (n_layer, n_expert)."""
    loads = []

    def note(mixture, inputs, _):
        chosen = mixture.route(inputs[0].flatten(0, -2))[2].flatten()
        loads.append(torch.bincount(chosen, minlength=len(mixture.experts)) / len(chosen))

    hooks = [block.mlp.register_forward_hook(note) for block in net.blocks]
    net(tokens)
    for hook in hooks:
        hook.remove()
    return torch.stack(loads)


def dense_loop(mixture, x):
    """Every expert on every token, weighed by 0 where it was not chosen."""
    logits = x @ mixture.router.weight.T
    chosen = logits.topk(mixture.active, dim=-1).indices
    if mixture.active == 1:
        weights = logits.softmax(-1)  # the probability among all: Fedus 2022
    else:  # the softmax of the chosen logits alone: Shazeer 2017
        hidden = torch.full_like(logits, -torch.inf)
        weights = hidden.scatter(-1, chosen, logits.gather(-1, chosen)).softmax(-1)
    keep = torch.zeros_like(logits).scatter(-1, chosen, 1.0)
    outputs = torch.stack([expert(x) for expert in mixture.experts], -1)  # (B, T, C, E)
    return (outputs * (keep * weights).unsqueeze(-2)).sum(-1)


def gradients_of(mixture, x, forward):
    mixture.zero_grad()
    x = x.clone().requires_grad_()
    y = forward(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return y.detach(), [x.grad, *(p.grad for p in mixture.parameters())]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("n_expert", "active"), ROUTES)
def test_it_equals_the_loop_over_all_experts(n_expert, active, gated):
    mixture = mixture_of(n_expert=n_expert, n_expert_active=active, gated_mlp=gated)
    x = torch.randn(3, 7, 32)
    y, gradients = gradients_of(mixture, x, mixture)
    expected, expected_gradients = gradients_of(mixture, x, lambda x: dense_loop(mixture, x))
    torch.testing.assert_close(y, expected)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert wanted.abs().max() > 0


def test_an_expert_without_tokens_is_no_trouble():
    mixture = mixture_of(n_expert=4, n_expert_active=1)
    x = torch.randn(1, 2, 32)
    y, gradients = gradients_of(mixture, x, mixture)
    torch.testing.assert_close(y, dense_loop(mixture, x).detach())
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_and_flops_are_those_of_count(shape):
    net, length = models.build(shape), min(8, shape.context)
    assert shape.params == n_params(net)
    idle = (shape.n_expert - shape.n_expert_active) * n_params(net.blocks[0].mlp.experts[0])
    assert shape.params_active == shape.params - shape.n_layer * idle
    for training in (False, True):
        predicted = shape.matmul_flops(3 * length, length, training)
        assert predicted == counted_flops(net, training)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_list_of_operations_has_every_product(shape):
    listed = sum(op.flops for op in training_step(shape, 3))
    length, products = shape.context, shape.matmul_flops(3 * shape.context, shape.context, True)
    scores = 2 * 3 * length**2 * shape.attention_width * shape.n_layer  # fused attention repeats
    assert listed == pytest.approx(products + scores, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_saved_bytes_are_those_of_count(shape, dtype):
    net, length = models.build(shape).to(getattr(torch, dtype)), min(16, shape.context)
    predicted = count.saved_bytes(shape, 4, length, dtype)
    assert predicted == pytest.approx(hooked_bytes(net, batch=4, length=length), abs=4)


def test_it_starts_like_gpt2():
    net = models.build(replace(GPT, n_layer=8, d_model=64))
    for name, p in net.named_parameters():
        if ".mlp." in name and p.dim() == 2:
            std = 0.02 / 4 if name.endswith("down.weight") else 0.02
            assert p.std().item() == pytest.approx(std, rel=0.15), name


def test_balance_loss_is_1_for_equal_loads_and_the_number_of_experts_for_one():
    even = torch.full((8, 4), 0.25)
    turns = torch.arange(16).view(8, 2) % 4
    assert _balance_loss(even, turns).item() == pytest.approx(1)
    one_only = F.one_hot(torch.zeros(8, dtype=torch.long), 4).float()
    assert _balance_loss(one_only, torch.zeros(8, 1, dtype=torch.long)).item() == 4
    # Fedus 2022, equations 4 to 6, written out: f = (3/4, 1/4), P = (0.6, 0.4)
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.4, 0.6]])
    chosen = torch.tensor([[0], [0], [0], [1]])
    expected = 2 * (3 / 4 * 0.6 + 1 / 4 * 0.4)
    assert _balance_loss(probabilities, chosen).item() == pytest.approx(expected)


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_the_balance_loss_is_as_if_added_to_the_loss(recompute):
    net, tokens = models.build(GPT), torch.randint(61, (3, 8))
    routed = []
    for block in net.blocks:
        block.mlp.register_forward_pre_hook(
            lambda mixture, inputs: routed.append(mixture.route(inputs[0].flatten(0, -2)))
        )
    loss = F.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten())
    balance = sum(_balance_loss(probabilities, chosen) for probabilities, _, chosen in routed)
    expected = torch.autograd.grad(loss + 0.3 * balance, list(net.parameters()))
    for block in net.for_training(recompute).blocks:
        block.mlp.balance = 0.3
    again = F.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten())
    assert torch.equal(loss, again)  # what is reported is the cross-entropy alone
    found = torch.autograd.grad(again, list(net.parameters()))
    for name, a, b in zip(dict(net.named_parameters()), found, expected, strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_balancing_brings_the_loads_nearer_to_uniform():
    shape = replace(GPT, context=32, vocab_size=256, n_expert=8)
    tokens, _ = TEXT.val_batches(64, 32, 1)[0]
    for seed in range(3):
        uneven = []
        for balance in (0.0, 0.1):
            net = models.build(shape, seed)
            recipe = Recipe(steps=60, batch_size=16, lr=3e-3, records=1, balance=balance)
            fit(net, TEXT, recipe, seed)
            load = expert_load(net, tokens)
            uneven.append((load - 1 / 8).abs().sum(1).mean().item())
        assert uneven[1] < 0.6 * uneven[0], (seed, uneven)


def test_a_dense_network_trains_to_the_same_numbers_with_any_balance():
    shape, losses = replace(GPT, n_expert=1, n_expert_active=1), []
    for balance in (0.0, 0.5):
        net = models.build(replace(shape, vocab_size=256))
        recipe = Recipe(steps=5, batch_size=4, records=1, balance=balance)
        fit(net, TEXT, recipe)
        losses.append([p.detach().clone() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_mixture_trains_in_either_precision_and_is_scored(precision):
    net, recipe = models.build(GPT), Recipe(lr=1e-2, precision=precision)
    optimizer = make_optimizer(net.parameters(), recipe)
    tokens = torch.arange(24).expand(8, 24) % 7
    losses = [train_step(net, optimizer, tokens, tokens, recipe).item() for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    loss, accuracy = evaluate(net, tokens, tokens)
    assert loss < losses[0] / 2 and accuracy > 0.5
    assert all(p.grad is not None for p in net.parameters())
