"""Proves that a network split over ranks is the dense network: outputs, losses, input and weight
gradients, and the weights after some steps, by hand and by DTensor, alone and under data
parallelism; and that each rank holds its share alone."""

import sys
from dataclasses import replace

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch.nn import functional as F

from modelscale import count, models, parallel
from modelscale.models.gpt import _rotary_table
from modelscale.parallel import tensor, traffic

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

PLAIN = count.Transformer(2, 32, 4, 60, 24)
MODERN = replace(
    PLAIN,
    n_head=8,
    n_kv_head=4,
    head_dim=6,
    d_ff=44,
    gated_mlp=True,
    bias=False,
    qkv_bias=True,
    positions="rotary",
    norm="rms",
    tied=False,
)
BATCH, TOKENS, STEPS, LR = 4, 16, 3, 0.5
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def dense_of(shape):
    """The network, with biases and norms that are not at their starting values."""
    model = models.build(shape)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def text_of(shape):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(shape.vocab_size, (BATCH, TOKENS + 1), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def dense_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(model, loss, x, y, average=lambda gradients: None):
    losses = []
    for _ in range(STEPS):
        model.zero_grad()
        value = loss(model(x), y)
        value.backward()
        average([p.grad for p in model.parameters()])
        for parameter in model.parameters():
            parameter.data -= LR * parameter.grad
        losses.append(value.detach())
    return torch.stack(losses), model.state_dict()


def check_part(part_of, sequence):
    """A part of a block against its split: output, input gradient, weight gradients."""
    group = dist.group.WORLD
    for shape in (PLAIN, MODERN):
        dense = part_of(dense_of(shape).blocks[0])
        dense_x = torch.randn(
            BATCH, TOKENS, shape.d_model, generator=torch.Generator().manual_seed(3)
        )
        dense_x.requires_grad_()
        rotary = _rotary_table(shape)[:, :TOKENS] if shape.positions == "rotary" else None
        extra = () if isinstance(dense, models.FeedForward) else (rotary,)
        dense_y = dense(dense_x, *extra)
        weights = torch.linspace(-1, 1, dense_y.numel()).view_as(dense_y)
        (dense_y * weights).sum().backward()

        def mine(t, sequence=sequence):
            return t.chunk(group.size(), 1)[group.rank()] if sequence else t

        shared = tensor.split(dense, group, sequence)
        x = mine(dense_x.detach()).clone().requires_grad_()
        y = shared(x, *extra)
        (y * mine(weights)).sum().backward()
        torch.testing.assert_close(y, mine(dense_y), **CLOSE)
        torch.testing.assert_close(x.grad, mine(dense_x.grad), **CLOSE)
        own = {name: p.grad for name, p in shared.named_parameters()}
        found = tensor.unshard(shared, own, group)
        for name, parameter in dense.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, **CLOSE)


def check_parts(sequence):
    for name in ("mlp", "attention"):
        check_part(lambda block, name=name: getattr(block, name), sequence)
    check_part(lambda block: block, sequence)


@pytest.mark.parametrize(("ranks", "sequence"), [(2, False), (2, True), (4, False), (4, True)])
def test_parts_of_a_block_equal_the_dense_ones(ranks, sequence):
    parallel.run(check_parts, sequence, ranks=ranks)


def check_gpt(sequence):
    group = dist.group.WORLD
    for shape in (PLAIN, MODERN):
        x, y = text_of(shape)
        losses, weights = train(dense_of(shape), dense_loss, x, y)
        shared = tensor.split(dense_of(shape), group, sequence)
        logits = shared(x)
        assert logits.shape == (BATCH, TOKENS, shape.vocab_size // group.size())
        got, own = train(shared, lambda z, t: tensor.vocabulary_loss(z, t, group), x, y)
        torch.testing.assert_close(got, losses, **CLOSE)
        assert losses[-1] < losses[0] - 0.1
        joined = tensor.unshard(shared, own, group)
        assert joined.keys() == weights.keys()
        for name, weight in joined.items():
            torch.testing.assert_close(weight, weights[name], **CLOSE)


@pytest.mark.parametrize(("ranks", "sequence"), [(2, False), (2, True), (4, True)])
def test_a_whole_gpt_trains_like_the_dense_one(ranks, sequence):
    parallel.run(check_gpt, sequence, ranks=ranks)


def test_each_rank_holds_its_share_alone():
    def sizes():
        return {
            name: tuple(p.shape)
            for name, p in tensor.split(dense_of(MODERN), dist.group.WORLD).named_parameters()
        }

    held = parallel.run(sizes, ranks=2)[0]
    assert held["embed.weight"] == (30, 32) and held["head.weight"] == (30, 32)
    assert held["blocks.0.attention.qkv.weight"] == ((4 + 2 + 2) * 6, 32)
    assert held["blocks.0.attention.out.weight"] == (32, 24)
    assert held["blocks.0.mlp.up.weight"] == (44, 32) and held["blocks.0.mlp.down.weight"] == (
        32,
        22,
    )
    assert held["norm.weight"] == (32,)


def check_mesh():
    """Two copies of the network, each on two ranks, against one process with the whole batch."""
    mesh = dist.device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    data, group = mesh.get_group("data"), mesh.get_group("tensor")
    x, y = text_of(PLAIN)
    losses, weights = train(dense_of(PLAIN), dense_loss, x, y)

    def average(gradients):
        for gradient in gradients:
            dist.all_reduce(gradient, dist.ReduceOp.AVG, group=data)

    shared = tensor.split(dense_of(PLAIN), group)
    own_x, own_y = (t.chunk(2)[data.rank()] for t in (x, y))
    got, own = train(
        shared, lambda z, t: tensor.vocabulary_loss(z, t, group), own_x, own_y, average
    )
    dist.all_reduce(got, dist.ReduceOp.AVG, group=data)
    torch.testing.assert_close(got, losses, **CLOSE)
    for name, weight in tensor.unshard(shared, own, group).items():
        torch.testing.assert_close(weight, weights[name], **CLOSE)


def test_data_times_tensor_equals_one_process():
    parallel.run(check_mesh, ranks=4)


def check_dtensor():
    """torch's own plan on the same block, its fused rows in the order of ranks."""
    from torch.distributed.tensor import parallel as torch_parallel

    group, shape = dist.group.WORLD, PLAIN
    ranks = group.size()
    mesh = dist.device_mesh.init_device_mesh("cpu", (ranks,))
    dense, theirs = dense_of(shape).blocks[0], dense_of(shape).blocks[0]
    ours = tensor.split(dense, group)
    rows = torch.arange(3 * shape.d_model).view(3, ranks, -1).transpose(0, 1).flatten()
    for parameter in theirs.attention.qkv.parameters():
        parameter.data = parameter.data[rows]
    column, row = torch_parallel.ColwiseParallel(), torch_parallel.RowwiseParallel()
    plan = {"attention.qkv": column, "attention.out": row, "mlp.up": column, "mlp.down": row}
    torch_parallel.parallelize_module(theirs, mesh, plan)
    theirs.attention.heads = ours.attention.heads
    x = torch.randn(BATCH, TOKENS, shape.d_model, generator=torch.Generator().manual_seed(3))
    met = {}
    for name, block in (("ours", ours), ("theirs", theirs)):
        x_in = x.clone().requires_grad_()
        with traffic.Meter() as meter:
            y = block(x_in)
            y.square().sum().backward()
        met[name] = [name for name, _ in meter.calls], y.detach(), x_in.grad, block
    torch.testing.assert_close(met["ours"][1:3], met["theirs"][1:3], **CLOSE)
    assert met["ours"][0] == met["theirs"][0] == 4 * ["all_reduce"]
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        grad = other.grad.to_local() if hasattr(other.grad, "to_local") else other.grad
        torch.testing.assert_close(mine.grad, grad, msg=name, **CLOSE)


def test_dtensor_gives_the_same_with_as_many_collectives():
    parallel.run(check_dtensor, ranks=2)


def test_vocabulary_loss_leaves_out_ignored_targets_and_computes_in_float32():
    def compared():
        group, generator = dist.group.WORLD, torch.Generator().manual_seed(0)
        logits = torch.randn(2, 6, 32, generator=generator).bfloat16()
        targets = torch.randint(32, (2, 6), generator=generator)
        targets[0, :4] = tensor.IGNORED
        own = logits.chunk(group.size(), -1)[group.rank()]
        wanted = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        torch.testing.assert_close(tensor.vocabulary_loss(own, targets, group), wanted)

    parallel.run(compared, ranks=2)


def test_vocabulary_loss_is_the_dense_one_and_survives_large_logits():
    def both(scale):
        group = dist.group.WORLD
        generator = torch.Generator().manual_seed(0)
        dense = (scale * torch.randn(2, 5, 12, generator=generator)).requires_grad_()
        targets = torch.randint(12, (2, 5), generator=generator)
        dense_loss(dense, targets).backward()
        own = dense.detach().chunk(group.size(), -1)[group.rank()].clone().requires_grad_()
        value = tensor.vocabulary_loss(own, targets, group)
        value.backward()
        torch.testing.assert_close(value, dense_loss(dense, targets), **CLOSE)
        torch.testing.assert_close(
            own.grad, dense.grad.chunk(group.size(), -1)[group.rank()], **CLOSE
        )

    for scale in (1.0, 1000.0):
        parallel.run(both, scale, ranks=4)


@pytest.mark.parametrize("sequence", [False, True])
def test_what_is_frozen_stays_frozen_when_it_is_split(sequence):
    def frozen():
        whole = models.build(PLAIN).requires_grad_(False)
        split = tensor.split(whole, dist.group.WORLD, sequence)
        return [name for name, p in split.named_parameters() if p.requires_grad]

    assert parallel.run(frozen) == [[], []]


def test_the_loss_is_finite_where_a_masked_logit_belongs_to_nobodys_target():
    def masked():
        group, logits = dist.group.WORLD, torch.randn(4, 8, generator=torch.manual_seed(0))
        logits[:, 0] = -torch.inf
        targets = torch.tensor([1, 5, tensor.IGNORED, 7])
        mine = tensor.vocabulary_loss(logits.chunk(2, -1)[group.rank()], targets, group)
        torch.testing.assert_close(mine, F.cross_entropy(logits, targets))

    parallel.run(masked)


@pytest.mark.parametrize("token", [60, -3])
def test_a_token_outside_the_vocabulary_is_refused(token):
    def outside(part):
        group, tokens = dist.group.WORLD, torch.tensor([[1, token]])
        if part == "loss":
            tensor.vocabulary_loss(torch.zeros(1, 2, 30), tokens, group)
        else:
            tensor.split(dense_of(PLAIN), group)(tokens)

    for part in ("loss", "embedding"):
        with pytest.raises(parallel.RankError, match=f"token={token}: it must be one of 60"):
            parallel.run(outside, part)
