"""Proves that recomputing blocks in the backward pass changes memory and time, and no number.

Gradients are the same; what stays between the passes, the most that is there at once and the FLOPs
are what `count` says.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from modelscale import count, data, models
from modelscale.train import Recipe, evaluate, fit
from test_models import GPTS, counted_flops, hooked_bytes, loss_of

EXPERTS = {"n_expert": 4, "n_expert_active": 2}
SHAPES = [*GPTS, *(replace(shape, **EXPERTS) for shape in GPTS)]
DEEP = count.Transformer(8, 64, 4, 64, 64)
DEEP_GATED = replace(DEEP, norm="rms", positions="rotary", gated_mlp=True, n_kv_head=2)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def gradients(net):
    torch.manual_seed(1)  # of the random data
    loss = loss_of(net)
    return loss.detach(), torch.autograd.grad(loss, list(net.parameters()))


def peak_bytes(net, tokens):
    """The most that the allocator had given out at once in one forward and backward pass."""
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)  # so that none is new
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        F.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten()).backward()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = torch.tensor([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return live.cumsum(0).max().item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_are_the_same(shape, dtype):
    net = models.build(shape).to(dtype)
    loss, plain = gradients(net)
    loss_again, again = gradients(net.for_training("full"))
    assert torch.equal(loss, loss_again)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_stays_between_the_passes_is_counted(shape, dtype):
    net = models.build(shape).to(getattr(torch, dtype)).for_training("full")
    length = min(16, shape.context)
    predicted = count.saved_bytes(shape, 4, length, dtype, "full")
    assert predicted == pytest.approx(hooked_bytes(net, batch=4, length=length), abs=4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [DEEP, DEEP_GATED, replace(DEEP, **EXPERTS)])
def test_the_peak_is_what_is_saved_and_a_little_more(shape, dtype):
    net, tokens = models.build(shape).to(getattr(torch, dtype)), torch.randint(64, (8, 64))
    plain, again = peak_bytes(net, tokens), peak_bytes(net.for_training("full"), tokens)
    # on top come gradients of activations, and values that are only passed on
    assert 1 < plain / count.saved_bytes(shape, 8, 64, dtype) < 1.1
    kept = count.saved_bytes(shape, 8, 64, dtype, "full")
    fewer = count.saved_bytes(replace(shape, n_layer=7), 8, 64, dtype)
    block = count.saved_bytes(shape, 8, 64, dtype) - fewer  # computed again, one at a time
    assert 0.9 < again / (kept + block) < 1.25, again / (kept + block)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_layers_flops_are_done_once_more(shape):
    net, length = models.build(shape).for_training("full"), min(8, shape.context)
    predicted = shape.matmul_flops(3 * length, length, training=True, recompute="full")
    assert predicted == counted_flops(net, training=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("experts", [{}, EXPERTS])
def test_it_trains_to_the_same_losses(experts, precision):
    shape = replace(GPTS[1], vocab_size=256, **experts)
    text = data.text(100_000, source="synthetic")
    recipe = Recipe(steps=6, batch_size=4, records=1, precision=precision)
    runs = []
    for recompute in ("none", "full"):
        net = models.build(shape).for_training(recompute)
        history = fit(net, text, recipe)
        assert net.recompute == recompute
        runs.append([*history.loss, *history.flops, *history.test_loss])
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


def test_nothing_is_kept_where_no_gradient_is_asked_for():
    net, tokens = models.build(GPTS[0]).for_training("full"), torch.randint(61, (2, 8))
    plain = models.build(GPTS[0])
    assert evaluate(net, tokens, tokens) == evaluate(plain, tokens, tokens)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Recipe(balance=-0.1), "^balance=-0.1.*0 switches it off"),
        (lambda: models.build(GPTS[0]).for_training("all"), "^recompute='all'"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_cache_is_refused_while_recomputing():
    net = models.build(GPTS[0]).for_training("full")
    cache = models.Cache(net.shape, 2, 6, net.embed.weight)
    with pytest.raises(ValueError, match=r"^recompute='full'.*no_grad"):
        net(torch.randint(61, (2, 5)), cache)
