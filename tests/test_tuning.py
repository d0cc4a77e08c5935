"""Proves that `tuning` follows the published rules, and that its checks notice what breaks them.

Each rule is read off the table in the paper; a forgotten one is found by the coordinate check.
"""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from modelscale import count, data, models, tuning
from modelscale.train import Recipe, fit
from modelscale.tuning.coordinates import Drift, _outputs

# Yang 2022 (Tensor Programs V, arXiv 2203.03466), table 3: powers of the width n that the initial
# variance and the learning rates follow. fan_in of inputs and biases and fan_out of outputs are
# fixed, every other fan is n: "1 / fan_in ** 2" of the output weights is -2 here.
TABLE_3 = {
    "input": {"variance": 0, "sgd": 1, "adamw": 0},  # input weights, all biases
    "output": {"variance": -2, "sgd": -1, "adamw": -1},
    "hidden": {"variance": -1, "sgd": 0, "adamw": -1},
}
MLP = count.MLP(depth=3, width=16)
CONV = count.ConvNet(depth=3, width=32)
GPT = count.Transformer(n_layer=2, d_model=32, n_head=4, vocab_size=50, context=16, tied=False)
BASES = [MLP, replace(MLP, residual=True), CONV, GPT, replace(GPT, positions="rotary", n_kv_head=2)]
INPUT = ("layers.0.weight", "stem.weight", "convs.0.weight", "embed.weight", "position.weight")
OUTPUT = ("layers.3.weight", "head.weight")
OUTPUT_BIAS = ("layers.3.bias", "head.bias")  # as long as there are classes: its fan_out is fixed
TASK = data.signals(1000, 200)
NO_STEP = tuning.lr_factors(MLP, MLP) | {"layers.0.bias": 0.0}
RECIPE = Recipe(batch_size=32, lr=1e-2, weight_decay=0.0, clip=math.inf)


def wider(base, times):
    name = "d_model" if isinstance(base, count.Transformer) else "width"
    return replace(base, **{name: times * getattr(base, name)})


def expected_role(name, parameter):
    if name in OUTPUT:
        return "output"
    return "input" if name in INPUT or parameter.dim() == 1 else "hidden"


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("base", BASES, ids=str)
def test_every_parameter_follows_table_3(base, times):
    shape = wider(base, times)
    rules = tuning.rules(shape, base)
    for name, parameter in models.build(shape).named_parameters():
        powers = TABLE_3[expected_role(name, parameter)]
        if name in OUTPUT_BIAS:
            powers = dict.fromkeys(powers, 0)
        assert rules[name].adamw == times ** powers["adamw"], name
        assert rules[name].sgd == times ** powers["sgd"], name
        assert rules[name].std ** 2 == pytest.approx(float(times) ** powers["variance"]), name
    for optimizer in ("adamw", "sgd"):
        factors = tuning.lr_factors(shape, base, optimizer)
        assert factors == {name: getattr(rule, optimizer) for name, rule in rules.items()}


@pytest.mark.parametrize("base", BASES, ids=str)
def test_the_initial_weights_have_the_published_variance(base):
    start = dict(tuning.mup(base, base).named_parameters())
    for name, parameter in tuning.mup(wider(base, 4), base).named_parameters():
        if parameter.dim() > 1:
            ratio = parameter.var().item() / start[name].var().item()
            power = TABLE_3[expected_role(name, parameter)]["variance"]
            assert math.log(ratio, 4) == pytest.approx(power, abs=0.25), name


@pytest.mark.parametrize("base", BASES, ids=str)
def test_at_the_base_mup_is_the_standard_network(base):
    ours, standard = tuning.mup(base, base, seed=3), models.build(base, seed=3)
    for a, b in zip(ours.parameters(), standard.parameters(), strict=True):
        assert torch.equal(a, b)
    x = torch.randint(50, (2, 16)) if isinstance(base, count.Transformer) else torch.randn(2, 40)
    assert torch.equal(ours(x), standard(x))
    assert set(tuning.lr_factors(base, base).values()) == {1.0}


def test_attention_logits_are_divided_by_the_head_size():
    """Definition 4.1 of Yang 2022: q . k / d, here equal to q . k / sqrt(d) at the base."""
    for d_model in (32, 128, 512):
        attention = tuning.mup(replace(GPT, d_model=d_model), GPT).blocks[0].attention
        assert attention.scale == pytest.approx(math.sqrt(8) / (d_model / 4))
    more_heads = tuning.mup(replace(GPT, d_model=128, n_head=16), GPT).blocks[0].attention
    assert more_heads.scale == pytest.approx(8**-0.5)  # heads of the base's size


@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
def test_attention_logits_are_those_that_attention_uses(n_kv_head):
    attention = models.build(replace(GPT, n_kv_head=n_kv_head)).blocks[0].attention
    attention.scale *= 3
    x = torch.randn(2, 7, 32)
    late = torch.ones(7, 7, dtype=torch.bool).triu(1)
    weights = attention.logits(x).masked_fill(late, -math.inf).softmax(-1)
    values = attention._heads(x, None)[2].repeat_interleave(4 // n_kv_head, dim=1)
    expected = attention.out((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 0.01), ("sgd", 0.1)])
def test_a_factor_multiplies_the_step_and_leaves_the_decay_alone(optimizer, lr):
    recipe = Recipe(1, lr=lr, optimizer=optimizer, weight_decay=0.5, warmup=0, lr_schedule="none")
    start = dict(models.build(MLP).named_parameters())
    plain, scaled, ones = models.build(MLP), models.build(MLP), models.build(MLP)
    factors = {name: 2.0**i for i, name in enumerate(start, -3)}
    fit(plain, TASK, recipe)
    fit(scaled, TASK, recipe, lr_factors=factors)
    fit(ones, TASK, recipe, lr_factors=dict.fromkeys(start, 1.0))
    moved = dict(plain.named_parameters())
    for name, parameter in scaled.named_parameters():
        decay = -lr * 0.5 * start[name]
        step = moved[name] - start[name] - decay
        expected = start[name] + decay + factors[name] * step
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-5)
    for a, b in zip(plain.parameters(), ones.parameters(), strict=True):
        assert torch.equal(a, b)


def maker(kind, optimizer, base=MLP, forget=None):
    """`make` of the coordinate check; `forget` names a rule that is left out."""

    def make(width, seed):
        shape = wider(base, width // 16)
        if kind == "standard":
            return models.build(shape, seed), None
        model = tuning.mup(shape, base, seed)
        factors = tuning.lr_factors(shape, base, optimizer)
        if forget in factors:
            factors[forget] = 1.0
        return model, factors

    return make


CASES = [(MLP, "adamw", 1e-2), (MLP, "sgd", 5e-2), (replace(MLP, residual=True), "adamw", 1e-2)]


@pytest.mark.parametrize(("base", "optimizer", "lr"), CASES, ids=str)
def test_the_coordinate_check_passes_for_mup_and_fails_for_the_standard(base, optimizer, lr):
    recipe = replace(RECIPE, optimizer=optimizer, lr=lr)
    for kind in ("standard", "mup"):
        make = maker(kind, optimizer, replace(base, width=64))
        found = tuning.coordinate_check(make, [16, 32, 64, 128], TASK, recipe, seeds=range(5))
        assert all(tuning.drift(found, step).passed == (kind == "mup") for step in (2, 4)), kind


def test_the_coordinate_check_of_a_gpt():
    text = data.text(50_000, source="synthetic")
    base = replace(GPT, vocab_size=256, d_model=128)

    def standard(width, seed):
        return models.build(replace(base, d_model=width), seed), None

    def mup(width, seed):
        shape = replace(base, d_model=width)
        return tuning.mup(shape, base, seed), tuning.lr_factors(shape, base)

    for make in (standard, mup):
        recipe = replace(RECIPE, batch_size=8, lr=2e-3)
        found = tuning.drift(tuning.coordinate_check(make, [64, 256], text, recipe, 2))
        assert found.passed == (make is mup), found
    assert {"embed", "blocks.1.attention.logits", "head"} <= set(found.slopes)


@pytest.mark.parametrize("forgotten", ["layers.1.weight", "layers.3.weight"])
def test_the_coordinate_check_names_the_layer_of_a_forgotten_rule(forgotten):
    make = maker("mup", "adamw", replace(MLP, width=64), forget=forgotten)
    found = tuning.coordinate_check(make, [16, 32, 64, 128], TASK, RECIPE, steps=1, seeds=range(5))
    assert forgotten.removesuffix(".weight") in tuning.drift(found).blown_up


def test_the_table_has_a_row_for_each_width_seed_layer_and_step():
    table = tuning.coordinate_check(maker("mup", "adamw"), [16, 32], TASK, RECIPE, 2, seeds=[4, 7])
    assert len(table) == 2 * 2 * 4 * 3
    assert {row["seed"] for row in table} == {4, 7} and {row["step"] for row in table} == {0, 1, 2}
    for row in table:
        assert (row["change"] == 0) == (row["step"] == 0) and row["size"] > 0


def table_of(changes):
    """A table in which each layer changes as its function of width, seed and step says."""
    return [
        {"width": w, "seed": s, "layer": name, "step": t, "change": change(w, s, t), "size": 1.0}
        for w, s, t in product((8, 64, 512), range(3), range(3))
        for name, change in changes.items()
    ]


def test_the_slope_of_a_power_of_the_width_is_its_exponent():
    powers = {"a": 1.0, "b": -0.5, "c.logits": -0.5, "d": 0.1}
    table = table_of({n: lambda w, s, t, p=p: (1 + s) * t * w**p for n, p in powers.items()})
    found = tuning.drift(table, step=1)
    assert found.slopes == pytest.approx(powers)
    assert (found.blown_up, found.frozen, found.passed) == (["a"], ["b"], False)
    assert Drift({"x.logits": -0.5, "y": 0.2}).passed and not Drift({"x.logits": 0.5}).passed
    with pytest.raises(ValueError, match=r"step=3.*one of 1, 2"):
        tuning.drift(table, step=3)


def test_what_diverged_has_blown_up_and_what_never_moved_is_frozen():
    changes = {"diverged": math.nan, "infinite": math.inf, "still": 0.0, "steady": 1.0}
    found = tuning.drift(table_of({name: lambda *_, c=c: c for name, c in changes.items()}))
    assert not found.passed
    assert (found.blown_up, found.frozen) == (["diverged", "infinite"], ["still"])


@pytest.mark.parametrize("rates", [[-9, -7, -6, -4, -1], list(range(-10, 0))], ids=str)
@pytest.mark.parametrize("best", [-6.6, -5.0, -4.4])
def test_the_optimum_of_a_parabola_is_its_vertex(rates, best):
    losses = [1.5 + 0.2 * (k - best) ** 2 for k in rates]
    assert tuning.best_lr([2.0**k for k in rates], losses) == pytest.approx(best)


def test_diverged_runs_are_infinitely_bad():
    lrs = [0.25, 0.5, 1.0, 2.0]
    for bad in (math.inf, math.nan):
        assert tuning.best_lr(lrs, [3, 2, bad, bad]) == -1.5
        assert tuning.best_lr(lrs, [bad, 2, 3, 4]) == -0.5
        assert tuning.best_lr(lrs, [bad, 2, bad, bad]) == -1.0
    assert tuning.best_lr(lrs, [3, 2, 1e9, 1e9]) == pytest.approx(-1.5)  # what it tends to
    assert tuning.best_lr(lrs, [3, 2, 2, 2]) == -0.5  # a flat bottom: its left end


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tuning.mup(replace(GPT, tied=True), replace(GPT, tied=True)), "tied=True.*two"),
        (
            lambda: tuning.rules(MLP, replace(MLP, depth=2)),
            "base=.*depth=2.*MLP.*widths alone",
        ),
        (lambda: tuning.rules(MLP, GPT), "both a count.MLP"),
        (lambda: tuning.rules("MLP", "MLP"), "both a count.MLP"),
        (lambda: tuning.lr_factors(MLP, MLP, "adam"), "optimizer='adam'.*adamw"),
        (lambda: tuning.best_lr([1, 2], [1, 2]), "at least three rising"),
        (lambda: tuning.best_lr([1, 4, 2], [1, 2, 3]), "at least three rising"),
        (lambda: tuning.best_lr([1, 2, 4], [1, 2, 3]), "lr='1'.*the smallest.*smaller rates"),
        (lambda: tuning.best_lr([1, 2, 4], [3, 2, 1]), "lr='4'.*the largest.*larger rates"),
        (lambda: tuning.coordinate_check(None, [8, 8], TASK, RECIPE), "widths, to compare=1"),
        (lambda: fit(models.build(MLP), TASK, lr_factors={"head": 1.0}), "lr_factors.*layers.0"),
        (lambda: fit(models.build(MLP), TASK, lr_factors=NO_STEP), "layers.0.bias'.=0"),
        (lambda: tuning.best_lr([0.0, 0.1, 0.2], [3.0, 1.0, 2.0]), "above 0"),
        (lambda: tuning.drift([]), "steps after the first"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_network_that_fails_is_watched_no_longer():
    model = models.build(count.MLP(2, 8))
    with pytest.raises(RuntimeError):
        _outputs(model, torch.zeros(2, 7))
    assert not any(module._forward_hooks for module in model.modules())
