"""Proves that an image conv net is what its shape says, and trains in `fit_many` as in `fit`.

Parameters equal `sum(p.numel())`, matrix products equal torch's FLOP counter forward and
backward, and saved bytes are those of the saved-tensor hooks.
"""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from modelscale import count, data, models, train

SHAPES = [
    count.ConvNet2d(),
    count.ConvNet2d(depth=1, width=5, size=7, n_out=3),
    count.ConvNet2d(depth=2, width=4, size=13),
    count.ConvNet2d(depth=4, width=2, n_out=37),
]


def loss_of(net, batch=3):
    x = torch.randn(batch, 1, net.shape.size, net.shape.size)
    return F.cross_entropy(net(x), torch.randint(net.shape.n_out, (batch,)))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_params_equal_the_sum_over_the_module(shape):
    assert shape.params == sum(p.numel() for p in models.build(shape).parameters())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_equal_the_flop_counter(shape, training):
    with FlopCounterMode(display=False) as counter:
        loss = loss_of(models.build(shape))
        if training:
            loss.backward()
    assert shape.matmul_flops(3, training) == counter.get_total_flops()
    assert shape.train_flops(12) == 4 * shape.matmul_flops(3, training=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_saved_bytes_equal_the_hooks(shape):
    net, storages = models.build(shape), {}
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(net, batch=50)
    saved = sum(s.nbytes() for address, s in storages.items() if address not in own)
    assert shape.saved_bytes(50) == pytest.approx(saved, rel=0.01)


def test_build_makes_it_and_the_seed_decides_the_weights():
    shape = SHAPES[0]
    net, again, other = (models.build(shape, seed) for seed in (4, 4, 5))
    assert type(net) is models.ConvNet2d
    assert torch.equal(net.convs[2].weight, again.convs[2].weight)
    assert not torch.equal(net.convs[2].weight, other.convs[2].weight)
    assert net(torch.randn(5, 1, 16, 16)).shape == (5, 10)


def test_pooling_before_the_relu_is_pooling_after_it():
    net = models.build(SHAPES[0])
    x = torch.randn(4, 1, 16, 16)
    y = x
    for conv in net.convs:
        y = F.max_pool2d(F.relu(conv(y)), 2)
    torch.testing.assert_close(net(x), net.head(y.flatten(1)))


def test_many_conv_nets_end_where_each_alone_ends():
    digits = data.digits(size=16).subset(100)
    recipe = train.Recipe(steps=20, batch_size=20, lr=0.02, optimizer="sgd", records=2)
    shape = count.ConvNet2d(width=4)
    together, alone = ([models.build(shape, seed) for seed in (3, 8)] for _ in range(2))
    histories = train.fit_many(together, digits, recipe)
    for seed, (member, net) in enumerate(zip(together, alone, strict=True)):
        history = train.fit(net, digits, recipe, seed)
        assert histories[seed].loss == pytest.approx(history.loss, rel=1e-3)
        assert histories[seed].flops == history.flops
        for a, b in zip(member.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_it_learns_digits():
    net = models.build(SHAPES[0])
    recipe = train.Recipe(steps=60, batch_size=50, records=1)
    history = train.fit(net, data.digits(size=16).subset(200), recipe)
    assert history.last["accuracy"] > 0.7  # 0.1 is chance; with its 200 labels it reaches 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 7}, "^size=7: .*at least 8.*fewer convolutions"),
        ({"depth": 0}, "^depth=0"),
        ({"width": 2.5}, "^width=2.5"),
        ({"n_out": True}, "^n_out=True"),
    ],
)
def test_mistakes_are_answered(arguments, message):
    with pytest.raises(ValueError, match=message):
        count.ConvNet2d(**arguments)
