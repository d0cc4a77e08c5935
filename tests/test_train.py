"""Proves that `fit` learns, stops, resumes as if nothing had happened, and survives a torn file."""

import math
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch.nn.utils.parametrizations import weight_norm

from modelscale import compress, count, data, models, transfer, tuning
from modelscale.train import History, Recipe, evaluate, fit, fit_many
from modelscale.train.loop import _batches, sample_order

SHAPE = count.MLP(depth=2, width=16)
RECIPE = Recipe(steps=40, batch_size=32, lr=1e-2, records=4)
TASK = data.signals(n_train=400, n_test=200)


class CutOff(Exception):
    """What a test raises to play a power cut."""


def trained(**options):
    model = models.build(SHAPE)
    return model, fit(model, TASK, RECIPE, **options)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def cut_off_after(step):
    def callback(now, record):
        if now == step:
            raise CutOff

    return callback


def test_training_lowers_the_loss_on_every_seed():
    for seed in range(3):
        model = models.build(SHAPE, seed)
        before = evaluate(model, TASK.x_train, TASK.y_train)[0]
        fit(model, TASK, replace(RECIPE, steps=200), seed)
        assert evaluate(model, TASK.x_train, TASK.y_train)[0] < 0.8 * before


def test_the_history_has_one_entry_a_record():
    _, history = trained()
    assert history.step == [10, 20, 30, 40]
    assert history.last.keys() == vars(History()).keys()
    assert all(len(values) == 4 for values in vars(history).values())
    per_step = SHAPE.matmul_flops(RECIPE.batch_size, training=True)
    assert history.flops == [per_step * step for step in history.step]
    assert history.seconds == sorted(history.seconds) and history.seconds[0] > 0
    assert all(0 <= share <= 1 for share in history.accuracy + history.train_accuracy)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    assert torch.equal(weights(trained()[0]), weights(trained()[0]))
    assert not torch.equal(weights(trained()[0]), weights(trained(seed=1)[0]))


def test_a_callback_that_returns_true_stops_the_run():
    seen = []
    _, history = trained(callback=lambda step, record: seen.append(record) or step >= 20)
    assert history.step == [10, 20]
    assert [record["step"] for record in seen] == [10, 20]


def test_each_epoch_shows_every_sample_once():
    order = sample_order(100, Recipe(steps=10, batch_size=30), seed=0).flatten()
    assert order.shape == (300,)
    for epoch in order.split(100):
        assert sorted(epoch.tolist()) == list(range(100))


def test_batches_after_the_first_few_are_those_of_an_unbroken_run():
    for task, shape in ((TASK, SHAPE), (data.text(50_000, source="synthetic"), GPT)):
        whole = list(_batches(task, shape, Recipe(steps=6, batch_size=8), seed=3))
        rest = list(_batches(task, shape, Recipe(steps=6, batch_size=8), seed=3, done=4))
        assert len(whole) == 6 and len(rest) == 2
        for (x, y), (a, b) in zip(whole[4:], rest, strict=True):
            assert torch.equal(x, a) and torch.equal(y, b)


GPT = count.Transformer(n_layer=1, d_model=16, n_head=2, vocab_size=256, context=16)


def test_a_small_gpt_learns_the_next_byte():
    task = data.text(50_000, source="synthetic")
    history = fit(models.build(GPT), task, Recipe(steps=60, batch_size=8, lr=1e-2, records=3))
    assert history.test_loss[-1] < history.test_loss[0] < math.log(256) + 0.5
    assert history.flops[-1] == 60 * 8 * 16 * GPT.train_flops_per_token()


def test_bfloat16_reaches_the_loss_of_float32():
    losses = []
    for precision in ("float32", "bfloat16"):
        history = fit(models.build(SHAPE), TASK, replace(RECIPE, precision=precision))
        losses.append(history.loss[-1])
    assert losses[0] != losses[1] and abs(losses[0] - losses[1]) < 0.02


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_that_was_cut_off_ends_where_an_unbroken_one_does(tmp_path, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    whole = models.build(SHAPE)
    unbroken = fit(whole, TASK, recipe)
    path = tmp_path / "run.safetensors"
    with pytest.raises(CutOff):
        fit(models.build(SHAPE), TASK, recipe, callback=cut_off_after(30), path=path)
    resumed = models.build(SHAPE, seed=9)  # other weights: they must come from the file
    history = fit(resumed, TASK, recipe, path=path)
    assert torch.equal(weights(whole), weights(resumed))
    assert history.step == unbroken.step and history.test_loss == unbroken.test_loss
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.previous"]


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_torn_checkpoint_is_noticed_and_the_one_before_is_used(tmp_path, kept):
    path = tmp_path / "run.safetensors"
    whole, _ = trained(path=path)
    path.write_bytes(path.read_bytes()[:kept])
    resumed = models.build(SHAPE, seed=9)
    with pytest.warns(UserWarning, match="is damaged"):
        history = fit(resumed, TASK, RECIPE, path=path)
    assert torch.equal(weights(whole), weights(resumed)) and history.step == [10, 20, 30, 40]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    trained(path=path)
    with pytest.raises(ValueError, match="another network"):
        fit(models.build(count.MLP(depth=2, width=8)), TASK, RECIPE, path=path)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"steps": 20}, {}),
        ({"optimizer": "sgd"}, {}),
        ({"lr": 2e-2}, {}),
        ({"clip": math.inf}, {}),
        ({}, {"seed": 7}),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, options):
    path = tmp_path / "run.safetensors"
    trained(path=path)
    name = next(iter(change | options))
    with pytest.raises(ValueError, match=f"{name}=.*as in the run that wrote"):
        fit(models.build(SHAPE), TASK, replace(RECIPE, **change), path=path, **options)


def normed(model):
    weight_norm(model.layers[0])
    return model


NETWORKS = {
    "frozen": lambda: transfer.freeze(models.build(replace(SHAPE, depth=3)), 1),
    "with adapters": lambda: transfer.add_lora(models.build(SHAPE), 2),
    "with computed weights": lambda: normed(models.build(SHAPE)),
    "pruned": lambda: compress.prune(models.build(SHAPE), 0.5),
    "tuned at scale": lambda: tuning.mup(replace(SHAPE, width=32), SHAPE),
}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_goes_on_where_it_was_cut_off(tmp_path, name, optimizer):
    recipe, path = replace(RECIPE, optimizer=optimizer), tmp_path / "run.safetensors"
    factors = None
    if name == "tuned at scale":
        factors = tuning.lr_factors(replace(SHAPE, width=32), SHAPE, optimizer)
    whole, resumed = NETWORKS[name](), NETWORKS[name]()
    fit(whole, TASK, recipe, lr_factors=factors)
    with pytest.raises(CutOff):
        callback = cut_off_after(20)
        fit(NETWORKS[name](), TASK, recipe, 0, callback, path=path, lr_factors=factors)
    fit(resumed, TASK, recipe, path=path, lr_factors=factors)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_resumed_run_may_group_its_parameters_otherwise(tmp_path):
    """The state is kept by name: by number it would reach other parameters."""
    path, (whole, _) = tmp_path / "run.safetensors", trained()
    with pytest.raises(CutOff):
        trained(callback=cut_off_after(30), path=path)  # the checkpoint is of step 20
    names = [name for name, _ in whole.named_parameters()]
    factors = {name: 1 + 1e-9 * ("bias" in name) for name in names}  # weights, then biases
    resumed, history = trained(path=path, lr_factors=factors)
    assert history.step == [10, 20, 30, 40]
    torch.testing.assert_close(weights(resumed), weights(whole))


def test_the_state_of_another_optimizer_is_refused():
    state, model = {}, models.build(SHAPE)
    fit(model, TASK, replace(RECIPE, optimizer="sgd"), state=state)
    with pytest.raises(ValueError, match=r"momentum_buffer.*For AdamW it must hold"):
        fit(model, TASK, RECIPE, state=state)


def test_a_file_of_weights_is_no_checkpoint(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(models.build(SHAPE).state_dict(), path)
    with pytest.raises(ValueError, match="of another network"):
        fit(models.build(SHAPE), TASK, RECIPE, path=path)


def test_the_rate_climbs_to_its_peak_and_falls_to_nothing():
    recipe = Recipe(steps=100, lr=1.0, warmup=0.1)
    rates = [recipe.lr_at(step) for step in range(1, 101)]
    assert rates.index(max(rates)) == 9 and max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert {replace(recipe, lr_schedule="none", warmup=0.0).lr_at(s) for s in (1, 50, 100)} == {1.0}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("batch_size", 1.5),
        ("lr", 0.0),
        ("lr", math.nan),
        ("optimizer", "adam"),
        ("warmup", 1.5),
        ("clip", 0.0),
        ("lr_schedule", "linear"),
        ("precision", "float16"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"{option}={value!r}"):
        Recipe(**{option: value})


@pytest.mark.parametrize(
    "train", [fit, lambda model, task, recipe: fit_many([model], task, recipe)]
)
def test_data_of_another_precision_are_converted(train):
    """As NumPy makes them: float64 samples, small integers as labels."""
    wide = {name: getattr(TASK, name).double() for name in ("x_train", "x_test")}
    short = {name: getattr(TASK, name).int() for name in ("y_train", "y_test")}
    given, plain = models.build(SHAPE), models.build(SHAPE)
    train(given, replace(TASK, **wide, **short), RECIPE)
    train(plain, TASK, RECIPE)
    assert torch.equal(weights(given), weights(plain))
    exact = evaluate(plain, TASK.x_test, TASK.y_test)
    assert evaluate(plain, wide["x_test"], TASK.y_test) == exact
    with pytest.raises(ValueError, match=r"y_test\.dtype=torch\.float32.*whole numbers"):
        replace(TASK, y_test=TASK.y_test.float())


def test_at_a_constant_rate_a_shorter_run_is_the_beginning_of_a_longer_one():
    constant = replace(RECIPE, lr_schedule="none", warmup=0.0)
    short = fit(models.build(SHAPE), TASK, replace(constant, steps=20, records=2))
    assert short.test_loss == fit(models.build(SHAPE), TASK, constant).test_loss[:2]


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match=r"batch_size=500.*at most the 400"):
        fit(models.build(SHAPE), TASK, replace(RECIPE, batch_size=500))
