"""Proves that grown networks compute what the small ones did, and that slices keep what they say.

Every kind of network, over three seeds, with weights moved off their start so that biases and norms
are not at zero and one. Parameter counts are those of `modelscale.count`.
"""

from dataclasses import replace

import pytest
import torch

from modelscale import count, data, growth, models, tuning
from modelscale.growth.units import groups
from modelscale.train import Recipe, fit

GPT = count.Transformer(n_layer=2, d_model=32, n_head=4, vocab_size=61, context=24)
GATED = replace(GPT, gated_mlp=True, norm="rms", positions="rotary", bias=False, tied=False)
GROUPED = replace(GPT, n_kv_head=2)
NETS = {
    "MLP": count.MLP(2, 12),
    "one layer": count.MLP(1, 12),
    "residual": count.MLP(3, 12, residual=True),
    "conv": count.ConvNet(3, 8),
    "conv with stride": count.ConvNet(3, 8, n_stride=1),
    "GPT": GPT,
    "gated GPT": GATED,
    "grouped GPT": GROUPED,
}
WIDER = {
    "GPT": {"n_head": 6, "d_ff": 200},
    "gated GPT": {"n_head": 7},
    "grouped GPT": {"d_ff": 150},
}
SEEDS = (0, 1, 2)


def moved(name, seed):
    """A network whose every parameter was moved at random."""
    model = models.build(NETS[name], seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def sample(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if hasattr(shape, "n_layer"):
        return torch.randint(shape.vocab_size, (3, 20), generator=generator)
    return torch.randn(30, shape.n_in, generator=generator)


def wider(name):
    return WIDER.get(name, {"width": 24 if name == "residual" else 19})


def deeper(name):
    return {"n_layer": 5} if "GPT" in name else {"depth": 6}


@torch.no_grad()
def difference(one, other):
    x = sample(one.shape)
    return float((one(x) - other(x)).abs().max())


def n_params(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise", [0, 0.5])
@pytest.mark.parametrize("name", NETS)
def test_wider_computes_the_same(name, noise, seed):
    small = moved(name, seed)
    big = growth.widen(small, noise=noise, seed=seed, **wider(name))
    assert difference(small, big) < 1e-5
    assert n_params(big) == big.shape.params > small.shape.params
    assert {key: getattr(big.shape, key) for key in wider(name)} == wider(name)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [name for name in NETS if name != "residual"])
def test_fresh_units_change_nothing_and_are_no_copies(name, seed):
    small = moved(name, seed)
    big = growth.widen(small, seed=seed, units="fresh", **wider(name))
    assert difference(small, big) < 1e-5
    new = models.build(big.shape, seed)
    makes = {key: p for key, p in big.plan.items() if any(not t.reads for t in p.takes)}
    for key, piece in makes.items():
        (take,) = [take for take in piece.takes if not take.reads]
        fresh = take.share == 0
        assert fresh.any() and not fresh.all()
        drawn = new.get_parameter(key).detach()[fresh]
        assert torch.equal(big.get_parameter(key).detach()[fresh], drawn)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETS)
def test_deeper_computes_the_same(name, seed):
    small = moved(name, seed)
    big = growth.deepen(small, seed=seed, **deeper(name))
    assert difference(small, big) < 1e-5
    assert n_params(big) == big.shape.params > small.shape.params


@pytest.mark.parametrize("name", ["residual", "GPT", "gated GPT", "grouped GPT"])
def test_a_stack_repeats_its_layers_and_changes_the_outputs(name):
    small = moved(name, 0)
    big = growth.stack(small, **deeper(name))
    assert n_params(big) == big.shape.params
    assert difference(small, big) > 1e-2
    old, new = dict(small.named_parameters()), dict(big.named_parameters())
    for key in (key for key in new if key.startswith("blocks.")):
        _, index, rest = key.split(".", 2)
        assert torch.equal(new[key], old[f"blocks.{int(index) % 2}.{rest}"])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("noise", [0, 0.5])
def test_equal_copies_stay_equal_and_unequal_ones_part(optimizer, noise):
    small, task = models.build(count.MLP(2, 8), 0), data.signals(500, 100)
    fit(small, task, Recipe(steps=20))
    big = growth.widen(small, width=16, noise=noise)
    rows = big.plan["layers.0.bias"].takes[0].entries
    fit(big, task, Recipe(steps=20, optimizer=optimizer, lr=1e-2))
    weight = big.layers[0].weight.detach()
    apart = max(float((weight[i] - weight[rows[i]]).abs().max()) for i in range(8, 16))
    assert apart < 1e-5 if noise == 0 else apart > 1e-3


def test_a_slice_holds_the_units_of_the_largest_norms():
    model = moved("MLP", 0)
    made = model.layers[0].weight.square().sum(1) + model.layers[0].bias.square()
    norms = made * model.layers[1].weight.square().sum(0)
    kept = norms.topk(5).indices.sort().values
    slim = growth.narrow(model, width=5)
    assert torch.equal(slim.layers[0].weight, model.layers[0].weight[kept])
    assert torch.equal(slim.layers[0].bias, model.layers[0].bias[kept])
    assert n_params(slim) == slim.shape.params


@pytest.mark.parametrize("name", NETS)
def test_a_slice_is_a_network_of_its_shape_with_units_of_the_large_one(name):
    small = moved(name, 0)
    big = growth.widen(small, **wider(name))
    sizes = {dial: getattr(small.shape, dial) or small.shape.ff_width for dial in wider(name)}
    back = growth.narrow(big, **sizes)
    assert n_params(back) == back.shape.params == small.shape.params
    old = dict(small.named_parameters())  # a copy of each unit is left, or the unit itself
    read = {site.name for group in groups(small) for site in group.sites if site.reads}
    for key in set(old) - read:
        rows = {tuple(row.flatten().tolist()) for row in old[key].detach()}
        assert {tuple(row.flatten().tolist()) for row in back.get_parameter(key).detach()} <= rows


REFUSED = [
    (lambda: growth.widen(moved("MLP", 0), width=11), "width=11.*at least 12.*Narrow"),
    (lambda: growth.widen(moved("MLP", 0)), "at least one of width.*width=64"),
    (lambda: growth.widen(moved("MLP", 0), n_head=4), "n_head.*'width'"),
    (lambda: growth.widen(moved("MLP", 0), width=20, noise=-1), "noise=-1"),
    (lambda: growth.widen(moved("MLP", 0), width=20, units="new"), "units='new'.*'fresh'"),
    (
        lambda: growth.widen(moved("MLP", 0), noise=1, width=20, units="fresh"),
        "units='fresh'.*'copies'",
    ),
    (lambda: growth.widen(moved("residual", 0), width=24, units="fresh"), "fresh.*'copies'"),
    (lambda: growth.widen(moved("residual", 0), width=20), "width=12.*try 24"),
    (lambda: growth.widen(moved("grouped GPT", 0), n_head=8), "n_head.*share keys"),
    (lambda: growth.widen(models.build(replace(GPT, n_expert=2)), d_ff=200), "n_expert=2.*dense"),
    (lambda: growth.stack(models.build(replace(GPT, n_expert=2)), n_layer=4), "n_expert=2"),
    (
        lambda: growth.widen(torch.nn.Linear(3, 3), width=4),
        "'Linear'.*or GPT.*build",
    ),
    (lambda: growth.narrow(moved("MLP", 0), width=13), "width=13.*at most 12.*Widen"),
    (lambda: growth.deepen(moved("MLP", 0), depth=2), "depth=2.*at least 3"),
    (lambda: growth.deepen(moved("MLP", 0), width=20), r"size=\['width'\].*\['depth'\]"),
    (lambda: growth.deepen(models.build(count.ConvNet(1, 4)), depth=3), "n_stride=.*at most 1"),
    (lambda: growth.stack(moved("conv", 0), depth=6), "blocks=0.*deepen others"),
    (lambda: growth.carry({}, moved("MLP", 0)), "without a plan.*Grow it first"),
    (
        lambda: growth.carry({}, growth.widen(moved("MLP", 0), width=20)),
        "state=.*layers.0.*Fill",
    ),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_a_mistake_is_named(call, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        call()


@pytest.mark.parametrize("grow", [{"d_ff": 300}, {"n_layer": 4}], ids=str)
def test_a_network_tuned_at_scale_computes_the_same_when_it_grows(grow):
    """Its attention is divided by the width of a head, not by the root of it."""
    base = replace(GPT, tied=False)
    model = tuning.mup(replace(base, d_model=64), base)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    tokens = torch.randint(base.vocab_size, (2, base.context))
    grown = (growth.widen if "d_ff" in grow else growth.deepen)(model, **grow)
    torch.testing.assert_close(grown(tokens), model(tokens), rtol=1e-4, atol=1e-4)
