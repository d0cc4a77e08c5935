"""Proves that `tuning` and the `mup` package by the authors of muP train the same network.

Weights at the start, activations and updates agree after some steps of SGD and of Adam, weight
decay included. Skipped where `mup` is not installed: it is no dependency of this course.
"""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from modelscale import count, data, models, tuning
from modelscale.train import Recipe, fit, loop
from modelscale.tuning.coordinates import _outputs

mup = pytest.importorskip("mup")
MLP = count.MLP(depth=3, width=16)
RESIDUAL = replace(MLP, residual=True)
GPT = count.Transformer(2, 16, 4, 256, 16, tied=False)
SHAPES = [(replace(MLP, width=64), MLP), (replace(RESIDUAL, width=64), RESIDUAL)]
SHAPES += [(replace(GPT, d_model=64), GPT), (replace(GPT, d_model=64, n_head=8), GPT)]
OPTIMIZERS = {
    "adamw": lambda parameters, lr, decay: mup.MuAdamW(parameters, lr=lr, weight_decay=decay),
    "sgd": lambda parameters, lr, decay: mup.MuSGD(
        parameters, lr=lr, weight_decay=decay, momentum=0.9
    ),
}


def theirs(shape, base, seed=0):
    """The standard network of this shape with the package's output layer, base shapes set."""
    nets = [_with_readout(models.build(s, seed)) for s in (shape, base, _wider(base))]
    mup.set_base_shapes(*nets[:2], delta=nets[2])
    for module in nets[0].modules():
        if isinstance(module, models.Attention):  # its users scale attention themselves
            module.scale = math.sqrt(base.head_size) / shape.head_size
    return nets[0]


def head_of(net):
    return net.layers[-1] if isinstance(net, models.MLP) else net.head


def width_ratio(shape, base):
    field = "d_model" if isinstance(shape, count.Transformer) else "width"
    return getattr(shape, field) / getattr(base, field)


def task_of(shape):
    if isinstance(shape, count.Transformer):
        return data.text(50_000, source="synthetic")
    return data.signals(500, 100)


def trained_by_the_package(net, task, recipe):
    """Train as `fit` does, with the package's optimizer in place of ours."""
    optimizer = OPTIMIZERS[recipe.optimizer](net.parameters(), recipe.lr, recipe.weight_decay)
    for x, y in loop._batches(task, net.shape, recipe, seed=0):
        loop.train_step(net, optimizer, x, y, recipe)


@pytest.mark.parametrize(("shape", "base"), SHAPES[:2], ids=str)
def test_the_nets_start_with_the_packages_weights(shape, base):
    ours, package = tuning.mup(shape, base), theirs(shape, base)
    with torch.no_grad():
        head_of(package).weight /= width_ratio(shape, base)  # theirs divides in the forward pass
    for a, b in zip(ours.parameters(), package.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_gpt_starts_with_the_packages_spread():
    """`mup.init.normal_` takes the 0.02 that GPT-2 has at the base."""
    shape, base = SHAPES[2]
    ours, package = tuning.mup(shape, base), theirs(shape, base)
    for (name, a), b in zip(ours.named_parameters(), package.parameters(), strict=True):
        if a.dim() == 2 and not name.endswith(("attention.out.weight", "mlp.down.weight")):
            mup.init.normal_(b, std=0.02)
            effective = b / width_ratio(shape, base) if name == "head.weight" else b
            assert a.std().item() == pytest.approx(effective.std().item(), rel=0.1), name


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 0.01), ("sgd", 0.1)])
@pytest.mark.parametrize(("shape", "base"), SHAPES, ids=str)
def test_activations_and_updates_agree_after_some_steps(shape, base, optimizer, lr):
    task, ratio = task_of(shape), width_ratio(shape, base)
    recipe = Recipe(steps=5, batch_size=16, lr=lr, optimizer=optimizer, weight_decay=0.1)
    recipe = replace(recipe, warmup=0, lr_schedule="none", clip=math.inf)
    ours, package = tuning.mup(shape, base), theirs(shape, base)
    package.load_state_dict(ours.state_dict())
    with torch.no_grad():
        head_of(package).weight *= ratio
    start = copy.deepcopy(ours)
    fit(ours, task, recipe, lr_factors=tuning.lr_factors(shape, base, optimizer))
    trained_by_the_package(package, task, recipe)

    with torch.no_grad():
        head_of(package).weight /= ratio  # from here on the package's numbers mean what ours do
    names = [name for name, _ in ours.named_parameters()]
    for name, a, b, before in zip(
        names, ours.parameters(), package.parameters(), start.parameters(), strict=True
    ):
        update, expected = (a - before).flatten(), (b - before).flatten()
        assert update.norm() > 0
        assert (update - expected).norm() < 0.02 * expected.norm(), name
    x = torch.randint(256, (4, 16)) if isinstance(shape, count.Transformer) else task.x_test[:9]
    with torch.no_grad():
        head_of(package).weight *= ratio
    seen = _outputs(package, x)
    for layer, output in _outputs(ours, x).items():
        assert (output - seen[layer]).norm() < 0.01 * seen[layer].norm(), layer


def _with_readout(net):
    """`net` with its last layer replaced by `MuReadout` of the same weights."""
    old = head_of(net)
    readout = mup.MuReadout(old.in_features, old.out_features, bias=old.bias is not None)
    readout.load_state_dict(old.state_dict())
    if isinstance(net, models.MLP):
        net.layers = nn.ModuleList([*net.layers[:-1], readout])
    else:
        net.head = readout
    return net


def _wider(base):
    if isinstance(base, count.Transformer):
        return replace(base, d_model=2 * base.d_model)
    return replace(base, width=2 * base.width)
