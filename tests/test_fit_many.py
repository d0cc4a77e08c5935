"""Proves that each member trained by `fit_many` ends where `fit` brings it alone."""

import contextlib
from dataclasses import replace

import pytest
import torch

from modelscale import count, data, models, transfer, tuning
from modelscale.train import Recipe, evaluate, fit, fit_many

TASK = data.signals(n_train=300, n_test=100)
RECIPE = Recipe(steps=30, batch_size=16, lr=5e-3, records=3, clip=0.5)
SHAPES = [
    count.MLP(depth=1, width=8),
    count.MLP(depth=3, width=8),
    count.MLP(depth=1, width=8, residual=True),
    count.MLP(depth=4, width=8, residual=True),
    count.ConvNet(depth=3, width=4),
]


def build(shape, n=4):
    return [models.build(shape, seed) for seed in range(n)]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_member_ends_where_fit_brings_it_alone(shape, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    seeds, lrs = [0, 1, 2, 5], [1e-3, 5e-3, 5e-3, 2e-2]
    together, alone = build(shape), build(shape)
    histories = fit_many(together, TASK, recipe, seeds, lrs)
    for i, model in enumerate(alone):
        history = fit(model, TASK, replace(recipe, lr=lrs[i]), seeds[i])
        for name in ("loss", "test_loss", "accuracy", "train_accuracy"):
            ours, theirs = getattr(histories[i], name), getattr(history, name)
            assert ours == pytest.approx(theirs, abs=0.011 if "accuracy" in name else 1e-4)
        assert histories[i].step == history.step and histories[i].flops == history.flops
        for ours, theirs in zip(together[i].parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3], SHAPES[4]], ids=str)
def test_learning_rate_factors_do_what_they_do_in_fit(shape, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, weight_decay=0.3)
    factors = tuning.lr_factors(replace(shape, width=16), replace(shape, width=5), optimizer)
    seeds, lrs = [0, 1, 5], [1e-3, 5e-3, 5e-3]
    together, alone = build(shape, 3), build(shape, 3)
    fit_many(together, TASK, recipe, seeds, lrs, lr_factors=factors)
    for i, model in enumerate(alone):
        fit(model, TASK, replace(recipe, lr=lrs[i]), seeds[i], lr_factors=factors)
        for ours, theirs in zip(together[i].parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("factors", [False, True])
def test_a_member_may_have_data_and_a_decay_of_its_own(optimizer, factors):
    """Two members share a set, a third has a shorter one with another test set."""
    shape, recipe = SHAPES[1], replace(RECIPE, optimizer=optimizer)
    other = data.signals(n_train=40, n_test=70, seed=1)
    sets, decays, lrs = [TASK, other, TASK, TASK], [0.0, 1.0, 1.0, 0.3], [5e-3, 5e-3, 5e-3, 1e-3]
    factors = tuning.lr_factors(replace(shape, width=16), shape, optimizer) if factors else None
    together, alone = build(shape), build(shape)
    histories = fit_many(together, sets, recipe, lrs=lrs, decays=decays, lr_factors=factors)
    for i, (history, model) in enumerate(zip(histories, alone, strict=True)):
        own = replace(recipe, lr=lrs[i], weight_decay=decays[i])
        expected = fit(model, sets[i], own, i, lr_factors=factors)
        assert history.test_loss == pytest.approx(expected.test_loss, abs=1e-4)
        assert history.train_accuracy == pytest.approx(expected.train_accuracy, abs=0.03)
        for ours, theirs in zip(together[i].parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


def test_a_callback_may_look_at_the_models():
    members, seen = build(SHAPES[0], 2), []

    def look(step, records):
        seen.append([evaluate(member, TASK.x_test, TASK.y_test)[0] for member in members])

    histories = fit_many(members, TASK, RECIPE, callback=look)
    assert seen == [list(row) for row in zip(*(h.test_loss for h in histories), strict=True)]


def test_hooks_of_a_network_are_called():
    def halve(layer, inputs, output):
        return output / 2

    together, alone = build(SHAPES[0], 2), build(SHAPES[0], 2)
    for model in together + alone:
        model.layers[0].register_forward_hook(halve)
    fit_many(together, TASK, RECIPE)
    for seed, (member, model) in enumerate(zip(together, alone, strict=True)):
        fit(model, TASK, RECIPE, seed)
        torch.testing.assert_close(
            member.layers[0].weight, model.layers[0].weight, atol=2e-4, rtol=1e-3
        )


def test_members_do_not_disturb_each_other():
    """A member whose learning rate blows up must leave the others as they were."""
    shape = count.MLP(depth=2, width=8)
    calm, wild = build(shape, 2), build(shape, 2)
    fit_many(calm, TASK, RECIPE, lrs=[1e-3, 1e-3])
    fit_many(wild, TASK, RECIPE, lrs=[1e-3, 1e3])
    for ours, theirs in zip(wild[0].parameters(), calm[0].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_callback_stops_all_members_with_their_weights_written_back():
    shape = count.MLP(depth=2, width=8)
    members = build(shape, 3)
    histories = fit_many(members, TASK, RECIPE, callback=lambda step, records: step >= 20)
    assert all(history.step == [10, 20] for history in histories)
    assert not torch.equal(members[0].layers[0].weight, build(shape, 1)[0].layers[0].weight)


def test_a_callback_is_shown_the_last_record_of_every_member():
    shown = []
    histories = fit_many(
        build(count.MLP(depth=2, width=8), 3), TASK, RECIPE, callback=lambda *a: shown.append(a)
    )
    assert [step for step, _ in shown] == [10, 20, 30]
    assert shown[-1][1] == [history.last for history in histories]
    assert len({record["loss"] for record in shown[-1][1]}) == 3


def test_members_share_the_seconds(monkeypatch):
    class Watch:
        """One that always stands at six seconds."""

        seconds, paused = 6.0, staticmethod(contextlib.nullcontext)

    monkeypatch.setattr("modelscale.train.many.Stopwatch", lambda device: Watch)
    for history in fit_many(build(count.MLP(depth=1, width=8), 3), TASK, RECIPE):
        assert history.seconds == [2.0] * 3


def test_half_precision_mixtures_and_texts_are_for_fit():
    with pytest.raises(ValueError, match=r"precision='bfloat16'.*with fit"):
        fit_many(build(SHAPES[0]), TASK, replace(RECIPE, precision="bfloat16"))
    mixture = count.MixtureMLP(1, 8, 8, n_expert=4)
    with pytest.raises(ValueError, match=r"n_expert=4.*with fit"):
        fit_many(build(mixture, 2), TASK, RECIPE)
    text = data.text(20_000, source="synthetic")
    with pytest.raises(ValueError, match=r"data=.*must be a data.Dataset"):
        fit_many(build(count.Transformer(1, 16, 2, 256, 16), 2), text, RECIPE)


def test_adapters_train_side_by_side():
    together, alone = (
        [transfer.add_lora(models.build(SHAPES[1]), 4) for _ in range(2)] for _ in range(2)
    )
    fit_many(together, TASK, RECIPE, seeds=[0, 1])
    for seed, (member, model) in enumerate(zip(together, alone, strict=True)):
        fit(model, TASK, RECIPE, seed)
        for ours, theirs in zip(member.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


def test_members_of_different_shapes_or_lists_of_other_lengths_are_refused():
    shape = count.MLP(depth=2, width=8)
    others = [models.build(shape), models.build(count.MLP(depth=2, width=9))]
    for told, members, task, options in (
        ("one shape", others, TASK, {}),
        (r"lrs=.*one for each of the 4", build(shape), TASK, {"lrs": [1e-3]}),
        (r"data=.*one for each of the 4", build(shape), [TASK], {}),
        ("weight_decay=-1", build(shape, 1), TASK, {"decays": [-1]}),
        ("lr=-1", build(shape, 1), TASK, {"lrs": [-1]}),
        ("lr_factors=", build(shape), TASK, {"lr_factors": {"layers.0.weight": 1.0}}),
        ("seeds=", [], TASK, {}),
    ):
        with pytest.raises(ValueError, match=told):
            fit_many(members, task, RECIPE, **options)
