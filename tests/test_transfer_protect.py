"""Proves that what protects from forgetting does what it says, and that labels' worth is read off.

An anchor under SGD is the L2-SP penalty written into the loss by hand; interpolation ends at its
two networks; rehearsal mixes what it promises; and no worth is read off beyond what was measured.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelscale import count, data, laws, models, train, transfer

NETS = {
    "MLP": count.MLP(2, 12),
    "ResidualMLP": count.MLP(3, 12, residual=True),
    "ConvNet2d": count.ConvNet2d(depth=2, width=3, size=8),
}
SGD = train.Recipe(steps=15, batch_size=20, lr=0.02, optimizer="sgd", weight_decay=0.5, records=1)


def data_for(shape):
    images = isinstance(shape, count.ConvNet2d)
    return data.digits().subset(60) if images else data.signals(60, 100)


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
        loss = train.loop.cross_entropy(model(x), y) + recipe.weight_decay / 2 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("shape", NETS.values(), ids=NETS)
def test_an_anchor_under_sgd_is_the_penalty_l2_sp(shape):
    recipe, samples = replace(SGD, clip=1e9), data_for(shape)
    anchored = transfer.anchor(models.build(shape))
    train.fit(anchored, samples, recipe)
    by_hand = trained_by_hand(models.build(shape), samples, recipe)
    torch.testing.assert_close(vector(transfer.release(anchored)), vector(by_hand))


@pytest.mark.parametrize("shape", NETS.values(), ids=NETS)
def test_anchored_and_released_is_the_same_network(shape):
    model, x = models.build(shape), data_for(shape).x_test[:9]
    anchored = transfer.anchor(model)
    released = transfer.release(anchored)
    assert torch.equal(anchored(x), model(x))
    assert transfer.trainable_params(anchored) == shape.params
    names = {name for name, _ in model.named_parameters()}
    assert {name for name, _ in released.named_parameters()} == names
    for name in names:
        assert torch.equal(released.get_parameter(name), model.get_parameter(name))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_stronger_the_anchor_the_nearer_the_network_stays(optimizer):
    model, samples = models.build(NETS["MLP"]), data_for(NETS["MLP"])
    body = sum(p.numel() for p in model.layers[:-1].parameters())
    recipe = replace(SGD, optimizer=optimizer, steps=40)
    moved = []
    for strength in (0.0, 3.0, 30.0):
        anchored = transfer.anchor(model)
        train.fit(anchored, samples, replace(recipe, weight_decay=strength))
        moved.append((vector(transfer.release(anchored)) - vector(model))[:body].norm().item())
    assert moved[0] > 1.2 * moved[1] > 1.2**2 * moved[2]


def test_many_anchored_networks_train_as_each_alone():
    samples = data_for(NETS["MLP"])
    together, alone = (
        [transfer.anchor(models.build(NETS["MLP"], seed)) for seed in (0, 1)] for _ in range(2)
    )
    train.fit_many(together, samples, SGD)
    for seed, (member, model) in enumerate(zip(together, alone, strict=True)):
        train.fit(model, samples, SGD, seed)
        a, b = transfer.release(member), transfer.release(model)
        torch.testing.assert_close(vector(a), vector(b), atol=1e-6, rtol=1e-5)


@given(share=st.floats(0, 1))
def test_interpolation_mixes_every_weight_and_leaves_both_ends(share):
    a, b = (models.build(NETS["MLP"], seed) for seed in (0, 1))
    before = vector(a), vector(b)
    between = vector(transfer.interpolate(a, b, share))
    torch.testing.assert_close(between, (1 - share) * before[0] + share * before[1])
    assert torch.equal(vector(a), before[0]) and torch.equal(vector(b), before[1])
    if share in (0, 1):
        assert torch.equal(between, before[int(share)])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8])
def test_rehearsal_mixes_a_share_of_the_source_in(share):
    source, target = data.letters(600, 50, size=8), data.digits().subset(100)
    mix = transfer.mixed(source, target, share, seed=2)
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


def test_rehearsal_trains_an_adapted_network_with_all_classes():
    source, target = data.letters(600, 50, size=8), data.digits().subset(100)
    mix = transfer.mixed(source, target, 0.5)
    shape = count.ConvNet2d(depth=2, width=3, size=8, n_out=37)
    model = transfer.adapt(models.build(shape), mix.n_classes, keep=True)
    history = train.fit(model, mix, train.Recipe(steps=20, batch_size=20, records=2))
    assert history.loss[-1] < history.loss[0]


def test_worth_of_a_known_curve_is_the_inverse_of_the_curve():
    labels = np.array([1, 2, 5, 10, 20, 50, 100])
    scratch = 0.2 + 0.15 * np.log(labels)
    for factor in (1, 2, 5, 30):
        transferred = 0.2 + 0.15 * np.log(factor * labels)
        worth = transfer.labels_worth(labels, scratch, transferred)
        known = factor * labels <= 100
        np.testing.assert_allclose(worth[known], (factor * labels)[known])
        assert np.isnan(worth[~known]).all()


def test_worth_is_read_off_the_mean_over_draws_and_never_extrapolated():
    labels = [1, 10, 100]
    scratch = np.array([[0.1, 0.4, 0.7], [0.3, 0.6, 0.9]])  # mean 0.2, 0.5, 0.8
    worth = transfer.labels_worth(labels, scratch, [0.35, 0.8, 0.81])
    np.testing.assert_allclose(worth[:2], [10**0.5, 100])
    assert np.isnan(worth[2])
    assert np.isnan(transfer.labels_worth(labels, scratch, [0.19, 0.2, 0.3])[0])


def test_worth_of_a_curve_with_a_dip_takes_the_fewest_labels():
    scratch, transferred = [0.2, 0.6, 0.4, 0.5, 0.8], [0.2, 0.55, 0.6, 0.6, 0.8]
    worth = transfer.labels_worth([1, 2, 4, 8, 16], scratch, transferred)
    np.testing.assert_allclose(worth, [1, 2 ** (0.35 / 0.4), 2, 2, 16])
    behind = transfer.labels_worth([1, 2, 4, 8, 16], scratch, [0.2, 0.7, 0.7, 0.7, 0.7])
    np.testing.assert_allclose(behind, [1, *[128**0.5] * 4])  # half-way from 8 labels to 16


def test_worth_less_labels_is_what_the_transfer_law_is_fitted_to():
    law = laws.TransferLaw(k=0.5, alpha=0.4, beta=0.6)
    labels = np.geomspace(1, 1e5, 30)
    D_F, N, D_T = [], [], []
    for size in (1e3, 1e4):
        known = labels[:12]
        transferred = np.log(labels + law.effective_data(labels, size))
        worth = transfer.labels_worth(labels, np.log(labels), transferred)
        D_F, N, D_T = [*D_F, *known], [*N, *[size] * 12], [*D_T, *(worth - labels)[:12]]
    found = laws.fit_transfer_law(D_F, N, D_T)
    assert (found.k, found.alpha, found.beta) == pytest.approx((0.5, 0.4, 0.6), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, o: transfer.interpolate(m, o, 0.5), "^b.shape=.*same head"),
        (lambda m, o: transfer.interpolate(m, m, 1.5), "^share=1.5: .*at most 1"),
        (lambda m, o: transfer.interpolate(m, m, "half"), "^share='half'"),
        (lambda m, o: transfer.anchor(transfer.anchor(m)), "anchor.*release"),
        (lambda m, o: transfer.release(m), "no anchor"),
        (lambda m, o: transfer.mixed(data.digits(), data.digits(), 1.0), "^share=1.0"),
        (lambda m, o: transfer.mixed(data.digits(), data.digits(), 0.9), "^samples of the source"),
        (lambda m, o: transfer.labels_worth([2, 1], [0, 1], [0, 1]), "rising"),
        (lambda m, o: transfer.labels_worth([1, 2], [0, 1, 2], [0, 1]), "^scratch has the shape"),
        (lambda m, o: transfer.labels_worth([1, 2], [0, 1], [0, np.nan]), "^transferred has"),
        (lambda m, o: transfer.labels_worth([0, 2], [0, 1], [0, 1]), "^labels=0"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call(models.build(NETS["MLP"]), models.build(count.MLP(2, 13)))
