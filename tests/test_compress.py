"""Proves that compressed networks hold what they say: bits, zeros, ranks, integers, bytes.

Every approximation is compared with its own arithmetic by hand; what it does to accuracy is stated
as orderings over three seeds.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from modelscale import compress, count, data, growth, models, transfer
from modelscale.compress.bits import _Int8Linear
from modelscale.compress.layers import linear, weighted
from modelscale.train import Recipe, evaluate, fit, fit_many

SEEDS = (0, 1, 2)
GPT = count.Transformer(n_layer=1, d_model=16, n_head=2, vocab_size=61, context=12)
SHAPES = [count.MLP(2, 24), count.MLP(3, 24, residual=True), count.ConvNet(3, 8), GPT]
EVERY = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: type(s).__name__)


@pytest.fixture(scope="module")
def task():
    return data.signals(4000, 2000)


@pytest.fixture(scope="module")
def trained(task):
    """Three trained networks; tests work on copies."""
    networks = [models.build(count.MLP(2, 64), seed) for seed in SEEDS]
    for seed, network in enumerate(networks):
        fit(network, task, Recipe(steps=400, records=1), seed)
    return networks


def accuracy(model, task):
    return evaluate(model, task.x_test, task.y_test)[1]


def sample(shape, batch=6):
    generator = torch.Generator().manual_seed(0)
    if isinstance(shape, count.Transformer):
        return torch.randint(shape.vocab_size, (batch, 10), generator=generator)
    return torch.randn(batch, shape.n_in, generator=generator)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per", ["channel", "tensor"])
def test_rounding_is_to_the_nearest_of_few_values(bits, per):
    layer = nn.Conv1d(5, 7, 3)
    layer.weight.data[2] = 0  # a dead channel stays dead
    weight = layer.weight.detach()
    rounded = compress.quantise(nn.Sequential(layer), bits, per)[0].weight.detach()
    largest = weight.abs().amax((1, 2), keepdim=True) if per == "channel" else weight.abs().max()
    step = (largest / (2 ** (bits - 1) - 1)).expand_as(weight)[:, :1, :1]
    alive = [0, 1, 3, 4, 5, 6]
    assert ((weight - rounded).abs() <= step / 2 * 1.001).all() and (rounded[2] == 0).all()
    values = rounded[alive] / step[alive]
    torch.testing.assert_close(values, values.round(), atol=1e-4, rtol=0)
    assert values.abs().max().round() == 2 ** (bits - 1) - 1


def test_fewer_bits_cost_accuracy(trained, task):
    for model in trained:
        full = accuracy(model, task)
        assert abs(accuracy(compress.quantise(model, 8), task) - full) < 0.01
        assert accuracy(compress.quantise(model, 2), task) < full - 0.1


def test_one_large_channel_ruins_the_step_of_a_whole_tensor(trained, task):
    """A neuron with huge weights that never fires sets the step of its layer, and of no other."""
    for model in trained:
        model = copy.deepcopy(model)
        with torch.no_grad():
            model.layers[1].weight[0] *= 300
            model.layers[1].bias[0] = -1e4
        full = accuracy(model, task)
        assert abs(accuracy(compress.quantise(model, 8), task) - full) < 0.01
        assert accuracy(compress.quantise(model, 8, "tensor"), task) < full - 0.1


@EVERY
def test_what_is_not_a_weight_is_left_alone(shape):
    model = models.build(shape)
    new, names = compress.quantise(model, 3), {f"{n}.weight" for n in weighted(model)}
    for name, value in new.named_parameters():
        assert torch.equal(value, dict(model.named_parameters())[name]) == (name not in names)
    assert "head.weight" not in names or not getattr(shape, "tied", False)


def by_hand(layer, x):
    """What `Int8Linear` computes, in plain integer arithmetic: 7 bits of input, on ARM 8."""
    most = 255 if torch.backends.quantized.engine == "qnnpack" else 127
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    step = (high - low) / most
    zero = (-low / step).round()
    rounded = ((x / step).round() + zero).clamp(0, most).to(torch.int32)
    product = (rounded - zero.to(torch.int32)).long() @ layer.weight.long().mT
    return product * (step * layer.step) + layer.bias


@EVERY
def test_int8_kernels_do_the_arithmetic_by_hand(shape):
    model = models.build(shape)
    fast, pairs = compress.int8(model), []

    def note(layer, args, out):
        # the most that an output changes where one input is rounded the other way
        quantum = (args[0].max().clamp(min=0) - args[0].min().clamp(max=0)) * layer.step.max()
        pairs.append((out, by_hand(layer, args[0]), quantum))

    for layer in fast.modules():
        if isinstance(layer, _Int8Linear):
            layer.register_forward_hook(note)
    with torch.no_grad():
        fast(sample(shape))
    assert len(pairs) == len(linear(model)) > 0
    for kernel, wanted, one in pairs:
        off = (kernel - wanted).abs() > 1e-5 + 1e-4 * wanted.abs()
        assert off.flatten(0, -2).any(1).float().mean() < 0.1  # a value half-way between two steps
        assert ((kernel - wanted).abs() <= 1.01 * one + 1e-5).all()  # may be rounded either way


@pytest.mark.parametrize("engine", torch.backends.quantized.supported_engines)
def test_every_engine_does_the_arithmetic_by_hand(engine):
    if engine == "none":
        pytest.skip("no kernels")
    before = torch.backends.quantized.engine
    try:
        torch.backends.quantized.engine = engine
        layer, x = _Int8Linear(nn.Linear(64, 8)), torch.randn(9, 64)
        assert torch.allclose(layer(x), by_hand(layer, x), rtol=1e-4, atol=1e-5)
    finally:
        torch.backends.quantized.engine = before


def test_a_sum_of_largest_products_does_not_saturate():
    layer = nn.Linear(64, 4)
    nn.init.constant_(layer.weight, 1.0)
    x = torch.ones(2, 64)
    assert torch.allclose(_Int8Linear(layer)(x), layer(x), atol=0.5)


def test_int8_keeps_the_accuracy_and_a_quarter_of_the_bytes(trained, task):
    for model in trained:
        fast = compress.int8(model)
        assert abs(accuracy(fast, task) - accuracy(model, task)) < 0.015
        hidden = sum(layer.weight.numel() for layer in linear(model).values())
        rest = compress.model_bytes(model) - 4 * hidden
        steps = 4 * sum(len(layer.weight) for layer in linear(model).values())
        assert compress.model_bytes(fast) == hidden + steps + rest
        assert accuracy(copy.deepcopy(fast), task) == accuracy(fast, task)


def test_int8_follows_the_weights_that_are_loaded():
    one, other = (compress.int8(models.build(count.MLP(2, 24), seed)) for seed in (0, 1))
    x = torch.randn(6, 40)
    for fast in (one, copy.deepcopy(one)):
        assert not torch.equal(fast(x), other(x))
        fast.load_state_dict(other.state_dict())
        assert torch.equal(fast(x), other(x))


def test_half_precision_leaves_the_network_alone():
    network, x = models.build(count.MLP(2, 8)), torch.randn(5, 40)
    half = compress.InHalf(network)
    assert next(network.parameters()).dtype == half(x).dtype == torch.float32
    assert compress.model_bytes(half) == 2 * count.MLP(2, 8).params


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_smallest_weights_are_pruned_and_stay_so(share, optimizer, trained, task):
    cut = compress.prune(trained[0], share)
    weights = [layer.weight for layer in weighted(cut).values()]
    every = torch.cat([layer.weight.detach().flatten() for layer in trained[0].layers])
    limit = every.abs().sort().values[round(share * len(every))]
    zeros = [layer.weight.detach().abs() < limit for layer in trained[0].layers]
    for zero, weight in zip(zeros, weights, strict=True):
        assert torch.equal(weight == 0, zero)
    fit(cut, task, Recipe(steps=5, optimizer=optimizer))
    for zero, weight in zip(zeros, weights, strict=True):
        assert torch.equal(weight == 0, zero)
    assert not torch.equal(weights[0][~zeros[0]], trained[0].layers[0].weight[~zeros[0]])


def test_many_pruned_networks_at_once_are_refused(trained, task):
    with pytest.raises(ValueError, match=r"pruned.*Train each with fit"):
        fit_many([compress.prune(model, 0.5) for model in trained], task, Recipe(steps=1))


def test_frozen_weights_are_pruned_and_stay_frozen():
    frozen = transfer.freeze(models.build(count.MLP(3, 24)), 1)
    pruned = compress.prune(frozen, 0.5)
    for before, after in zip(frozen.parameters(), pruned.parameters(), strict=True):
        assert before.requires_grad == after.requires_grad
    assert all(float((w == 0).float().mean()) >= 0.4 for w in pruned.parameters() if w.dim() == 2)


@EVERY
def test_stored_sparsely_it_computes_the_same(shape):
    cut = compress.prune(models.build(shape), 0.9)
    thin, x = compress.sparse(cut), sample(shape)
    with torch.no_grad():
        assert torch.allclose(thin(x), cut(x), atol=1e-5)
    assert compress.model_bytes(thin) < compress.model_bytes(cut)


@pytest.mark.parametrize("rank", [1, 5, 7, 11])
def test_no_pair_of_a_rank_is_nearer_and_no_pair_is_larger(rank):
    model = models.build(count.MLP(2, 24))
    before = torch.get_rng_state()
    thin = compress.low_rank(model, rank)
    assert torch.equal(torch.get_rng_state(), before)
    for old, new in zip(model.layers, thin.layers, strict=True):
        if isinstance(new, nn.Linear):  # 24 x 10: a pair pays below rank 240 / 34
            assert rank > 7 and old is model.layers[2] and torch.equal(new.weight, old.weight)
            continue
        first, second = new
        error = (old.weight - second.weight @ first.weight).square().sum()
        left_out = torch.linalg.svdvals(old.weight)[rank:].square().sum()
        assert torch.allclose(error, left_out, rtol=1e-4)
        assert first.weight.numel() + second.weight.numel() < old.weight.numel()
    fit(thin, data.signals(500, 100), Recipe(steps=2))


def test_bytes_count_shared_weights_once():
    model = models.build(GPT)
    assert compress.model_bytes(model) == 4 * GPT.params
    assert compress.model_bytes(copy.deepcopy(model).to(torch.bfloat16)) == 2 * GPT.params


def test_a_forward_pass_is_timed_without_gradients():
    seen = []

    def network(x):
        seen.append(torch.is_inference_mode_enabled())
        return x

    found = compress.forward_s({"a": network, "b": network}, torch.zeros(1), rounds=3)
    assert list(found) == ["a", "b"] and all(len(s) == 3 for s in found.values()) and all(seen)


@pytest.mark.parametrize("shape", [count.MLP(1, 16), count.MixtureMLP(1, 16, 16, n_expert=4)])
def test_distilling_without_a_teachers_share_is_fit(shape, task):
    """Of a mixture its balance loss included."""
    recipe = Recipe(steps=30, records=1)
    one, other, free = (models.build(shape, 5) for _ in range(3))
    compress.distil(one, models.build(count.MLP(1, 16)), task, recipe, share=0)
    fit(other, task, recipe)
    fit(free, task, replace(recipe, balance=0.0))
    apart = [
        max(
            float((a - b).detach().abs().max())
            for a, b in zip(one.parameters(), net.parameters(), strict=True)
        )
        for net in (other, free)
    ]
    assert apart[0] < 1e-6
    assert (apart[1] > 1e-4) == (type(shape) is count.MixtureMLP)


def test_with_the_teachers_share_alone_labels_do_not_matter(trained, task):
    students = [models.build(count.MLP(1, 16), 5) for _ in range(2)]
    for student, labels in zip(students, (task.y_train, task.y_train.flip(0)), strict=True):
        relabelled = replace(task, y_train=labels)
        compress.distil(student, trained[0], relabelled, Recipe(steps=10), share=1)
    assert torch.equal(students[0].layers[0].weight, students[1].layers[0].weight)


def test_one_step_goes_down_hintons_loss(trained, task):
    """Plain SGD on a batch of all: the step is the gradient of T^2 times the divergence."""
    few, share, t = task.subset(50, 0), 0.7, 3.0
    student = models.build(count.MLP(1, 16), 5)
    logits, teacher = student(few.x_train), trained[0](few.x_train).detach()
    p, q = (teacher / t).softmax(-1), (logits / t).softmax(-1)
    soft = t**2 * (p * (p / q).log()).sum(-1).mean()
    loss = (1 - share) * F.cross_entropy(logits, few.y_train) + share * soft
    wanted = [p - 0.1 * g for p, g in zip(
        student.parameters(), torch.autograd.grad(loss, list(student.parameters())), strict=True
    )]  # fmt: skip
    how = {"optimizer": "sgd", "weight_decay": 0.0, "clip": 1e9, "warmup": 0.0}
    recipe = Recipe(steps=1, batch_size=50, lr=0.1, lr_schedule="none", **how)
    compress.distil(student, trained[0], few, recipe, t, share)
    for found, expected in zip(student.parameters(), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


SMALL = models.build(count.MLP(2, 24))
CONV = models.build(count.ConvNet(2, 4))
ANCHORED = copy.deepcopy(SMALL)
parametrize.register_parametrization(ANCHORED.layers[0], "weight", nn.Identity())
FEW = data.signals(64, 10)
REFUSED = [
    (lambda: compress.quantise(SMALL, 1), "bits=1.*at least 2, at most 8"),
    (lambda: compress.quantise(SMALL, 16), "bits=16.*at most 8"),
    (lambda: compress.quantise(SMALL, 4, "row"), "per='row'.*'channel', 'tensor'"),
    (lambda: compress.int8(compress.int8(SMALL)), "model='MLP'.*linear maps.*[Bb]efore int8"),
    (lambda: compress.int8(copy.deepcopy(SMALL).bfloat16()), "bfloat16 on cpu.*float32 on cpu"),
    (lambda: compress.quantise(compress.int8(SMALL)), "model='MLP'.*linear maps or convolutions"),
    (lambda: compress.prune(compress.int8(SMALL), 0.5), "model='MLP'.*linear maps or convolutions"),
    *((lambda f=f: f(ANCHORED, 4), "without an anchor") for f in
      (compress.quantise, compress.low_rank, lambda m, n: compress.prune(m, 1 / n))),
    (lambda: compress.int8(ANCHORED), "without an anchor"),
    (lambda: compress.prune(SMALL, 1.0), "share=1.0.*below 1"),
    (lambda: compress.prune(SMALL, -0.1), "share=-0.1"),
    (lambda: compress.low_rank(SMALL, 0), "rank=0.*at least 1, at most 14"),
    (lambda: compress.low_rank(SMALL, 20), "rank=20.*more weights than the map"),
    (lambda: compress.distil(SMALL, SMALL, FEW, share=1.5), "share=1.5"),
    (lambda: compress.distil(SMALL, SMALL, FEW, temperature=0), "temperature=0"),
    (lambda: growth.narrow(CONV, width=5), "width=5.*at most 4"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_a_mistake_is_named(call, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        call()
