"""Proves that the networks are what `modelscale.count` says they are, and start as they should.

Parameters equal `sum(p.numel())`, matrix products equal torch's FLOP counter forward and
backward, and saved bytes are those of the saved-tensor hooks.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from modelscale import count, data, models
from modelscale.models.gpt import _attend, _rotary_table, _rotate
from modelscale.train import Recipe, fit, fit_many

GPT = count.Transformer(n_layer=2, d_model=32, n_head=4, vocab_size=61, context=24)
GPTS = [
    GPT,
    replace(GPT, bias=False, norm="rms", positions="rotary", gated_mlp=True, n_kv_head=2),
    replace(GPT, bias=False, tied=False, positions="none", n_kv_head=1),
    replace(GPT, bias=False, qkv_bias=True, positions="rotary", head_dim=6, d_ff=50),
    replace(GPT, qkv_bias=False, norm="rms", gated_mlp=True, d_ff=44, tied=False),
    replace(GPT, bias=False, gated_mlp=True, n_kv_head=2, head_dim=10, n_layer=1),
    replace(GPT, norm="rms", positions="rotary", n_kv_head=1, tied=False, n_layer=3),
    replace(GPT, norm="rms", bias=False, positions="none", d_ff=128, context=1),
]
NETS = [
    *(count.MLP(depth, 24, residual=residual) for depth in (1, 2, 5) for residual in (False, True)),
    count.MLP(3, 7, n_in=5, n_out=3),
    *(count.ConvNet(depth, 8) for depth in (1, 2, 3, 5)),
    count.ConvNet(4, 6, n_in=33, n_out=4, kernel=3, n_stride=1),
    count.ConvNet(2, 6, kernel=1, n_stride=0),
]


def n_params(module):
    return sum(p.numel() for p in module.parameters())


def loss_of(net, batch=3, length=8):
    """The cross-entropy of `net` on random data."""
    shape = net.shape
    if isinstance(net, models.GPT):
        tokens = torch.randint(shape.vocab_size, (batch, min(length, shape.context)))
        return F.cross_entropy(net(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
    size = (1, shape.size, shape.size) if hasattr(shape, "size") else (shape.n_in,)
    x = torch.randn(batch, *size, dtype=next(net.parameters()).dtype)
    return F.cross_entropy(net(x), torch.randint(shape.n_out, (batch,)))


def counted_flops(net, training, batch=3, length=8):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = loss_of(net, batch, length)
        if training:
            loss.backward()
    return counter.get_total_flops()


def hooked_bytes(net, **sizes):
    """Bytes of the storages that one forward pass saves, the parameters' own left out."""
    storages = {}  # kept alive, so that no address is used twice
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(net, **sizes)
    return sum(s.nbytes() for address, s in storages.items() if address not in own)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


IMAGES = [count.ConvNet2d(), count.ConvNet2d(depth=1, width=5, size=7, n_out=3)]


@pytest.mark.parametrize("shape", [*NETS, *GPTS, *IMAGES], ids=str)
def test_params_equal_the_sum_over_the_module(shape):
    assert shape.params == n_params(models.build(shape))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", NETS, ids=str)
def test_net_flops_equal_the_flop_counter(shape, training):
    assert shape.matmul_flops(3, training) == counted_flops(models.build(shape), training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", GPTS)
def test_gpt_flops_equal_the_flop_counter(shape, training):
    length = min(8, shape.context)
    predicted = shape.matmul_flops(3 * length, length, training)
    assert predicted == counted_flops(models.build(shape), training)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_every_combination_of_options(positions, norm):
    base = count.Transformer(1, 16, 4, 20, 6, positions=positions, norm=norm)
    for bias, gated, kv, tied in product((True, False), (True, False), (4, 2, 1), (True, False)):
        shape = replace(base, bias=bias, gated_mlp=gated, n_kv_head=kv, tied=tied)
        net = models.build(shape)
        assert shape.params == n_params(net), shape
        flops = counted_flops(net, training=True, batch=2, length=6)
        assert shape.matmul_flops(12, 6, training=True) == flops, shape


@pytest.mark.parametrize("shape", NETS, ids=str)
def test_saved_bytes_of_nets(shape):
    assert shape.saved_bytes(50) == pytest.approx(hooked_bytes(models.build(shape), batch=50), 0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", GPTS)
def test_saved_bytes_of_gpt(shape, dtype):
    net = models.build(shape).to(getattr(torch, dtype))
    length = min(16, shape.context)
    predicted = count.saved_bytes(shape, 4, length, dtype)
    assert predicted == pytest.approx(hooked_bytes(net, batch=4, length=length), 0.01)


@pytest.mark.parametrize("shape", GPTS[:-1])
def test_later_tokens_leave_earlier_logits_alone(shape):
    net = models.build(shape)
    tokens = torch.randint(61, (1, 12))
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % 61
    before, after = net(tokens), net(changed)
    torch.testing.assert_close(before[0, :7], after[0, :7])
    assert not torch.allclose(before[0, 7], after[0, 7])
    assert after.shape == (1, 12, 61)


def test_rotary_scores_depend_on_distance_alone():
    shape = replace(GPT, positions="rotary", head_dim=8)
    table = _rotary_table(shape)
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 24, 1, 8)  # the same at every position
    q, k = (_rotate(x, table)[0, :, 0] for x in (q, k))
    scores = q @ k.T
    for offset in (-5, 0, 3):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores.diagonal(3)[0] != pytest.approx(scores.diagonal(4)[0].item(), rel=1e-3)
    torch.testing.assert_close(q.norm(dim=1), q.norm(dim=1)[:1].expand(24))


def test_rotary_gpt_sees_order_and_distance_but_no_absolute_position():
    net = models.build(replace(GPT, positions="rotary", n_layer=1), seed=3)
    for block in net.blocks:
        nn.init.normal_(block.attention.qkv.weight, std=0.5)  # attention that does look
    tokens = torch.randint(61, (1, 12))
    x = net.embed(tokens)
    here, there = (net.blocks[0](x, net.rotary[:, i : i + 12]) for i in (0, 5))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-4)
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    assert not torch.allclose(net(tokens)[0, -1], net(swapped)[0, -1], atol=1e-5)


@pytest.mark.parametrize("positions", ["none", "learned"])
def test_without_positions_order_is_invisible_to_the_first_layer(positions):
    net = models.build(replace(GPT, positions=positions, n_layer=1))
    nn.init.normal_(net.blocks[0].attention.qkv.weight, std=0.5)
    tokens = torch.randperm(61)[None, :12]
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    same = torch.allclose(net(tokens)[0, -1], net(swapped)[0, -1], atol=1e-6)
    assert same == (positions == "none")


def test_grouped_queries_equal_repeated_keys_and_values():
    grouped, full = (models.Attention(replace(GPT, n_kv_head=n)) for n in (2, 4))
    q, k, v = grouped.qkv.weight.split((32, 16, 16))
    k, v = (w.view(2, 8, 32).repeat_interleave(2, 0).flatten(0, 1) for w in (k, v))
    bq, bk, bv = grouped.qkv.bias.split((32, 16, 16))
    bk, bv = (b.view(2, 8).repeat_interleave(2, 0).flatten() for b in (bk, bv))
    with torch.no_grad():
        full.qkv.weight.copy_(torch.cat((q, k, v)))
        full.qkv.bias.copy_(torch.cat((bq, bk, bv)))
    full.out.load_state_dict(grouped.out.state_dict())
    x = torch.randn(2, 7, 32)
    torch.testing.assert_close(grouped(x), full(x))


def test_a_gated_mlp_is_swiglu():
    mlp = models.FeedForward(replace(GPT, gated_mlp=True, d_ff=10, bias=False))
    x = torch.randn(5, 32)
    gate, value = mlp.up.weight[:10], mlp.up.weight[10:]
    expected = (F.silu(x @ gate.T) * (x @ value.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected)


SAMPLES = [
    count.MLP(2, 8),
    count.MLP(2, 8, residual=True),
    count.ConvNet(2, 8),
    count.ConvNet2d(width=4),
    count.MixtureMLP(1, 8, 8, n_expert=2),
    GPT,
]


@pytest.mark.parametrize("shape", SAMPLES, ids=lambda shape: type(shape).__name__)
def test_the_seed_alone_decides_the_weights(shape):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = models.build(shape, seed=4)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    again, other = models.build(shape, seed=4), models.build(shape, seed=5)
    assert first.shape is shape
    weights = zip(first.parameters(), again.parameters(), other.parameters(), strict=True)
    for a, b, c in weights:
        assert torch.equal(a, b)
        assert not torch.equal(a, c) or a.dim() == 1  # biases and norms start alike


def test_each_shape_gets_its_class():
    classes = [type(models.build(shape)) for shape in SAMPLES]
    assert classes == [
        models.MLP,
        models.ResidualMLP,
        models.ConvNet,
        models.ConvNet2d,
        models.MixtureMLP,
        models.GPT,
    ]


def test_pooling_before_the_relu_is_pooling_after_it():
    net, x = models.build(IMAGES[0]), torch.randn(4, 1, 16, 16)
    y = x
    for conv in net.convs:
        y = F.max_pool2d(F.relu(conv(y)), 2)
    torch.testing.assert_close(net(x), net.head(y.flatten(1)))


def test_many_image_conv_nets_end_where_each_alone_ends():
    digits, shape = data.digits(size=16).subset(100), count.ConvNet2d(width=4)
    recipe = Recipe(steps=20, batch_size=20, lr=0.02, optimizer="sgd", records=2)
    together, alone = ([models.build(shape, seed) for seed in (3, 8)] for _ in range(2))
    histories = fit_many(together, digits, recipe)
    for seed, (member, net) in enumerate(zip(together, alone, strict=True)):
        history = fit(net, digits, recipe, seed)
        assert histories[seed].loss == pytest.approx(history.loss, rel=1e-3)
        assert histories[seed].flops == history.flops
        for a, b in zip(member.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_relu_signals_keep_their_size_through_a_deep_plain_net():
    net = models.build(count.MLP(30, 256))
    x = torch.randn(200, 40)
    with torch.no_grad():
        for layer in net.layers[:-1]:
            x = F.relu(layer(x))
    assert 0.1 < x.pow(2).mean().item() < 10  # the input's is 1; torch's own start leaves 6**-30
    assert net.layers[-1].weight.std().item() == pytest.approx(256**-0.5, rel=0.1)
    assert all(layer.bias.abs().max() == 0 for layer in net.layers)


def test_gpt_starts_like_gpt2():
    net = models.build(replace(GPT, n_layer=8, d_model=64, tied=False))
    stds = {name: p.std().item() for name, p in net.named_parameters() if p.dim() == 2}
    for name, std in stds.items():
        scaled = name.endswith(("attention.out.weight", "mlp.down.weight"))
        assert std == pytest.approx(0.02 / 4 if scaled else 0.02, rel=0.1), name
    for name, p in net.named_parameters():
        if p.dim() == 1:
            assert (p == ("norm" in name and name.endswith("weight"))).all(), name


def test_a_tied_head_is_the_embedding():
    net = models.build(GPT)
    assert net.head.weight is net.embed.weight
    untied = models.build(replace(GPT, tied=False))
    assert not torch.equal(untied.head.weight, untied.embed.weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.build("MLP"), "^shape='MLP'.*count.MLP"),
        (lambda: models.build(GPT, seed=-1), "^seed=-1"),
        (lambda: count.ConvNet2d(size=7), "^size=7: .*at least 8.*fewer convolutions"),
        (lambda: count.ConvNet2d(width=2.5), "^width=2.5"),
        (lambda: count.MixtureMLP(1, 8, 8, 4, n_expert_active=5), "^n_expert_active=5.*at most 4"),
        (lambda: count.MixtureMLP(1, 8, 0), "^d_ff=0"),
        (
            lambda: models.build(GPT)(torch.zeros(1, 25, dtype=torch.long)),
            "^tokens in a sequence=25: .*at most 24",
        ),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_mixed_precision_on_a_cpu_attends_in_float32():
    """Bit for bit, forward and backward: torch's bfloat16 kernels round in other places."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(2, 4, 32, 16, generator=generator).bfloat16() for _ in range(3)]
    mixed, exact = ([x.clone().requires_grad_() for x in made] for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        y = _attend(*mixed, is_causal=True)
    wanted = F.scaled_dot_product_attention(*(x.float() for x in exact), is_causal=True)
    assert y.dtype == torch.bfloat16 and torch.equal(y, wanted.bfloat16())
    y.square().sum().backward()
    wanted.bfloat16().square().sum().backward()
    for a, b in zip(mixed, exact, strict=True):
        assert torch.equal(a.grad, b.grad)


def test_mixed_precision_on_a_cpu_keeps_logits_in_float32():
    model, tokens = models.build(GPT), torch.zeros(1, 8, dtype=torch.long)
    entered = []
    model.norm.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, model.head(model.norm(entered[0])))
