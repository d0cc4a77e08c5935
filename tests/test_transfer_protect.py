"""Proves that what experiments/transfer_sources.py protects with does what it says.

An anchor under SGD is the L2-SP penalty written into the loss by hand; a mean of weights ends at
its two networks; rehearsal mixes what it promises.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import sweeps
from modelscale import data, models, train, transfer
from reuse import NETS, data_for

with pytest.MonkeyPatch.context() as patch:  # it imports another script
    patch.syspath_prepend(str(sweeps.ROOT / "experiments"))
    script = sweeps.script("transfer_sources")

SGD = train.Recipe(steps=15, batch_size=20, lr=0.02, optimizer="sgd", weight_decay=0.5, records=1)


def vector(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def trained_by_hand(model, samples, recipe):
    """SGD on cross-entropy + strength / 2 (|body - start|^2 + |head|^2): Li 2018, L2-SP."""
    head = transfer.stages(model)[-1]
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, momentum=0.9)
    for step, (x, y) in enumerate(train.loop._batches(samples, model.shape, recipe, 0), 1):
        optimizer.param_groups[0]["lr"] = recipe.lr_at(step)
        penalty = sum(
            (p if name.startswith(head) else p - start[name]).square().sum()
            for name, p in model.named_parameters()
        )
        loss = F.cross_entropy(model(x), y) + recipe.weight_decay / 2 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("shape", NETS.values(), ids=NETS)
def test_an_anchor_under_sgd_is_the_penalty_l2_sp(shape):
    recipe, samples = replace(SGD, clip=1e9), data_for(shape)
    anchored = script.anchored(models.build(shape))
    train.fit(anchored, samples, recipe)
    by_hand = trained_by_hand(models.build(shape), samples, recipe)
    torch.testing.assert_close(vector(script.released(anchored)), vector(by_hand))


@pytest.mark.parametrize("shape", NETS.values(), ids=NETS)
def test_anchored_and_released_is_the_same_network(shape):
    model, x = models.build(shape), data_for(shape).x_test[:9]
    anchored = script.anchored(model)
    released = script.released(anchored)
    assert torch.equal(anchored(x), model(x))
    assert sum(p.numel() for p in anchored.parameters() if p.requires_grad) == shape.params
    names = {name for name, _ in model.named_parameters()}
    assert {name for name, _ in released.named_parameters()} == names
    for name in names:
        assert torch.equal(released.get_parameter(name), model.get_parameter(name))


@pytest.mark.parametrize("share", [0, 0.25, 0.7, 1])
def test_a_mean_mixes_every_weight_and_leaves_both_ends(share):
    a, b = (models.build(NETS["MLP"], seed) for seed in (0, 1))
    before = vector(a), vector(b)
    between = vector(script.mean_of_weights(a, b, share))
    torch.testing.assert_close(between, (1 - share) * before[0] + share * before[1])
    assert torch.equal(vector(a), before[0]) and torch.equal(vector(b), before[1])
    if share in (0, 1):
        assert torch.equal(between, before[int(share)])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8])
def test_rehearsal_mixes_a_share_of_the_source_in(share):
    source, target = data.letters(600, 50), data.digits(size=16).subset(100)
    mix = script.mixed(source, target, share, seed=2)
    old = mix.y_train < source.n_classes
    assert old.float().mean().item() == pytest.approx(share, abs=0.01)
    assert mix.n_classes == 47
    assert torch.equal(mix.x_train[~old], target.x_train)
    assert torch.equal(mix.y_train[~old] - 37, target.y_train)
    assert torch.equal(mix.y_test - 37, target.y_test)
    found = (mix.x_train[old][:, None] == source.x_train[None]).flatten(2).all(2)
    rows = found.float().argmax(1)
    assert found.any(1).all() and len(set(rows.tolist())) == len(rows)
    assert torch.equal(source.y_train[rows], mix.y_train[old])
