"""Proves that compressed networks hold what they say: bits, zeros, ranks, integers, bytes, FLOPs.

Every approximation is compared with its own arithmetic by hand; what it does to accuracy is stated
as orderings over three seeds.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from modelscale import compress, count, data, growth, models, transfer
from modelscale.compress.distil import soft_loss
from modelscale.compress.layers import linear, weighted
from modelscale.train import Recipe, evaluate, fit, fit_many

SEEDS = (0, 1, 2)
GPT = count.Transformer(n_layer=1, d_model=16, n_head=2, vocab_size=61, context=12)
SHAPES = [count.MLP(2, 24), count.MLP(3, 24, residual=True), count.ConvNet(3, 8), GPT]


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
def test_rounding_is_at_most_half_a_step_off_and_has_few_values(bits, per):
    weight = torch.randn(7, 5, 3)
    weight[2] = 0  # a dead channel stays dead
    rounded, step = (f(weight, bits, per) for f in (compress.round_trip, compress.scales))
    assert ((weight - rounded).abs() <= step / 2 * 1.001).all()
    values = (rounded / step).round()
    assert values.abs().max() == 2 ** (bits - 1) - 1
    assert torch.allclose(values * step, rounded) and (rounded[2] == 0).all()
    assert step.shape == ((7, 1, 1) if per == "channel" else (1, 1, 1))


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


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: type(s).__name__)
def test_what_is_not_a_weight_is_left_alone(shape):
    model = models.build(shape)
    new, names = compress.quantise(model, 3), {f"{n}.weight" for n in weighted(model)}
    for name, value in new.named_parameters():
        assert torch.equal(value, dict(model.named_parameters())[name]) == (name not in names)
    assert "head.weight" not in names or not getattr(shape, "tied", False)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: type(s).__name__)
def test_int8_kernels_do_the_arithmetic_by_hand(shape):
    model = models.build(shape)
    fast = compress.int8(model)
    pairs = []
    for layer in fast.modules():
        if isinstance(layer, compress.Int8Linear):
            layer.register_forward_hook(
                lambda m, args, out: pairs.append((out, m.by_hand(args[0]), quantum(m, args[0])))
            )
    with torch.no_grad():
        fast(sample(shape))
    assert len(pairs) == len(linear(model)) > 0
    for kernel, by_hand, one in pairs:
        off = (kernel - by_hand).abs() > 1e-5 + 1e-4 * by_hand.abs()
        assert off.flatten(0, -2).any(1).float().mean() < 0.1  # a value half-way between two steps
        assert ((kernel - by_hand).abs() <= 1.01 * one + 1e-5).all()  # may be rounded either way


def quantum(layer, x):
    """The most that an output changes where one value of x, in 127 steps, is rounded the other way:
    by a step times the largest weight, which is 127 of its own.
    """
    return (x.max().clamp(min=0) - x.min().clamp(max=0)) * layer.step.max()


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


@pytest.mark.parametrize("engine", torch.backends.quantized.supported_engines)
def test_every_engine_does_the_arithmetic_by_hand(engine):
    if engine == "none":
        pytest.skip("no kernels")
    before = torch.backends.quantized.engine
    try:
        torch.backends.quantized.engine = engine
        layer, x = compress.Int8Linear(nn.Linear(64, 8)), torch.randn(9, 64)
        assert torch.allclose(layer(x), layer.by_hand(x), rtol=1e-4, atol=1e-5)
    finally:
        torch.backends.quantized.engine = before


def test_full_8_bit_activations_would_overflow_where_7_do_not():
    """The largest sum of two products in 16 bits: why activations have 7 bits."""
    from modelscale.compress.int8 import ACTIVATION_VALUES

    assert 2 * ACTIVATION_VALUES * 127 < 2**15 <= 2 * 255 * 127
    layer = nn.Linear(64, 4)
    nn.init.constant_(layer.weight, 1.0)
    x = torch.ones(2, 64)
    assert torch.allclose(compress.Int8Linear(layer)(x), layer(x), atol=0.5)


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
@pytest.mark.parametrize("by", ["magnitude", "random"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_is_pruned_stays_pruned(share, by, optimizer, trained, task):
    cut = compress.prune(trained[0], share, by)
    weights = [layer.weight for layer in weighted(cut).values()]
    zeros = [weight == 0 for weight in weights]
    n = sum(weight.numel() for weight in weights)
    assert sum(int(zero.sum()) for zero in zeros) == round(share * n)
    fit(cut, task, Recipe(steps=5, optimizer=optimizer))
    for zero, weight in zip(zeros, weights, strict=True):
        assert torch.equal(weight == 0, zero)
        assert not torch.equal(weight, trained[0].layers[0].weight)


def test_many_pruned_networks_at_once_are_refused(trained, task):
    with pytest.raises(ValueError, match=r"pruned.*Train each with fit"):
        fit_many([compress.prune(model, 0.5) for model in trained], task, Recipe(steps=1))


def test_small_weights_matter_less_than_random_ones(trained, task):
    for seed, model in enumerate(trained):
        small = accuracy(compress.prune(model, 0.4), task)
        assert small > accuracy(compress.prune(model, 0.4, "random", seed), task) + 0.02


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: type(s).__name__)
def test_stored_sparsely_it_computes_the_same(shape):
    cut = compress.prune(models.build(shape), 0.9)
    thin, x = compress.sparse(cut), sample(shape)
    with torch.no_grad():
        assert torch.allclose(thin(x), cut(x), atol=1e-5)
    assert compress.model_bytes(thin) < compress.model_bytes(cut)


@pytest.mark.parametrize("rank", [1, 5, 11])
def test_no_pair_of_a_rank_is_nearer(rank):
    model = models.build(count.MLP(2, 24))
    thin = compress.low_rank(model, rank, keep=("layers.2",))
    for index in (0, 1):
        first, second = thin.layers[index]
        error = model.layers[index].weight - second.weight @ first.weight
        left_out = torch.linalg.svdvals(model.layers[index].weight)[rank:]
        assert torch.allclose(error.square().sum(), left_out.square().sum(), rtol=1e-4)
        assert first.weight.numel() + second.weight.numel() < model.layers[index].weight.numel()
    assert torch.equal(thin.layers[2].weight, model.layers[2].weight)
    fit(thin, data.signals(500, 100), Recipe(steps=2))


def test_bytes_count_shared_weights_once():
    model = models.build(GPT)
    assert compress.model_bytes(model) == 4 * GPT.params
    assert compress.model_bytes(copy.deepcopy(model).to(torch.bfloat16)) == 2 * GPT.params


def test_distilling_without_a_teachers_share_is_fit(trained, task):
    recipe = Recipe(steps=30, records=3)
    one, other = (models.build(count.MLP(1, 16), 5) for _ in range(2))
    history, plain = (
        compress.distil(one, trained[0], task, recipe, share=0),
        fit(other, task, recipe),
    )
    assert history.loss == pytest.approx(plain.loss, abs=1e-5)
    assert history.flops == plain.flops
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_with_the_teachers_share_alone_labels_do_not_matter(trained, task):
    students = [models.build(count.MLP(1, 16), 5) for _ in range(2)]
    for student, labels in zip(students, (task.y_train, task.y_train.flip(0)), strict=True):
        relabelled = replace(task, y_train=labels)
        compress.distil(student, trained[0], relabelled, Recipe(steps=10), share=1)
    assert torch.equal(students[0].layers[0].weight, students[1].layers[0].weight)


def test_a_student_comes_nearer_to_its_teacher(trained, task):
    for seed, teacher in enumerate(trained):
        answers = teacher(task.x_test).detach()
        apart = []
        for share in (0, 0.9):
            student = models.build(count.MLP(2, 24), 10 + seed)
            compress.distil(student, teacher, task, Recipe(steps=300), share=share, seed=seed)
            with torch.no_grad():
                apart.append(float(soft_loss(student(task.x_test), answers, 1.0)))
        assert apart[1] < apart[0]


def test_the_soft_loss_is_hintons():
    logits, answers = torch.randn(5, 4), torch.randn(5, 4)
    p, q = (answers / 3).softmax(-1), (logits / 3).softmax(-1)
    assert torch.allclose(soft_loss(logits, answers, 3.0), 9 * (p * (p / q).log()).sum(-1).mean())
    assert float(soft_loss(answers, answers, 3.0)) == pytest.approx(0, abs=1e-6)


SMALL = models.build(count.MLP(2, 24))
CONV = models.build(count.ConvNet(2, 4))
REFUSED = [
    (lambda: compress.quantise(SMALL, 1), "bits=1.*at least 2, at most 8"),
    (lambda: compress.quantise(SMALL, 16), "bits=16.*at most 8"),
    (lambda: compress.quantise(SMALL, 4.5), "bits=4.5.*whole number"),
    (lambda: compress.quantise(SMALL, 4, "row"), "per='row'.*'channel', 'tensor'"),
    (lambda: compress.int8(compress.int8(SMALL)), "MLP without a linear map.*before int8"),
    (lambda: compress.int8(copy.deepcopy(SMALL).bfloat16()), "bfloat16 on cpu.*float32 on cpu"),
    (lambda: compress.quantise(compress.int8(SMALL)), "without a linear map or a convolution"),
    (lambda: compress.prune(compress.int8(SMALL), 0.5), "without a linear map or a convolution"),
    (lambda: compress.distil(SMALL, SMALL, None, Recipe(precision="bfloat16")), "precision='bfl"),
    (lambda: compress.distil(SMALL, SMALL, None, Recipe(compile=True)), "compile=True"),
    (lambda: compress.prune(SMALL, 1.0), "share=1.0.*below 1"),
    (lambda: compress.prune(SMALL, -0.1), "share=-0.1"),
    (lambda: compress.prune(SMALL, 0.5, "luck"), "by='luck'"),
    (lambda: compress.low_rank(SMALL, 0), "rank=0.*at least 1, at most 14"),
    (lambda: compress.low_rank(SMALL, 20), "rank=20.*more weights than the map"),
    (lambda: compress.low_rank(SMALL, 2, keep=("head",)), "keep='head'.*'layers.0'"),
    (lambda: compress.distil(SMALL, SMALL, data.signals(64, 10), share=1.5), "share=1.5"),
    (lambda: compress.distil(SMALL, SMALL, data.signals(64, 10), temperature=0), "temperature=0"),
    (lambda: growth.narrow(CONV, width=5), "width=5.*at most 4"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_a_mistake_is_named(call, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        call()


def test_a_mixture_is_distilled_with_its_balance(task):
    """Without a teacher's share it is `fit`, balance loss and all."""
    shape, recipe = count.MixtureMLP(1, 16, 16, n_expert=4), Recipe(steps=20, records=1)
    one, other, free = (models.build(shape) for _ in range(3))
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
    assert apart[0] < 1e-6 < 1e-4 < apart[1]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: compress.prune(model, 0.5),
        lambda model: compress.quantise(model, 4),
        lambda model: compress.int8(model),
        lambda model: compress.low_rank(model, 4),
    ],
)
def test_an_anchored_network_is_refused(call):
    """Its weights are computed at each use: what is written into them would be lost."""
    with pytest.raises(ValueError, match=r"has an anchor.*release"):
        call(transfer.anchor(models.build(count.MLP(2, 24))))


def test_frozen_weights_are_pruned_and_stay_frozen():
    frozen = transfer.freeze(models.build(count.MLP(3, 24)), 1)
    pruned = compress.prune(frozen, 0.5)
    for before, after in zip(frozen.parameters(), pruned.parameters(), strict=True):
        assert before.requires_grad == after.requires_grad
    assert all(float((w == 0).float().mean()) >= 0.4 for w in pruned.parameters() if w.dim() == 2)


def test_factors_draw_no_random_numbers():
    before = torch.get_rng_state()
    compress.low_rank(models.build(count.MLP(2, 24)), 4)
    assert torch.equal(torch.get_rng_state(), before)
