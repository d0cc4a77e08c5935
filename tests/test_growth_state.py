"""Proves that the optimizer's state survives: a pause, and growth.

Gradients of a wider network are computed and compared with those that the plan maps from the
small one; a run cut in two with its state carried is the run in one piece.
"""

import pytest
import torch
from torch.nn.functional import cross_entropy

from modelscale import count, data, growth, models
from modelscale.train import Recipe, fit
from test_growth import NETS, deeper, moved, sample, wider


def gradients(model):
    """{name: moments}, as if the optimizer had seen one gradient alone."""
    x, generator = sample(model.shape), torch.Generator().manual_seed(0)
    if isinstance(model, models.GPT):
        labels = torch.randint(model.shape.vocab_size, x.shape, generator=generator)
    else:
        labels = torch.randint(model.shape.n_out, x.shape[:1], generator=generator)
    model.zero_grad()
    cross_entropy(model(x).flatten(0, -2), labels.flatten()).backward()
    return {
        name: {"exp_avg": p.grad, "exp_avg_sq": p.grad**2} for name, p in model.named_parameters()
    }


@pytest.mark.parametrize("name", NETS)
def test_moments_grow_as_gradients_do(name):
    small = moved(name, 1)
    big = growth.widen(small, **wider(name))
    mapped, real = growth.carry(gradients(small), big), gradients(big)
    for key in real:
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.allclose(mapped[key][moment], real[key][moment], atol=1e-6), key


@pytest.mark.parametrize("name", [name for name in NETS if name != "residual"])
def test_fresh_units_have_no_moments_and_old_ones_keep_theirs(name):
    small = moved(name, 1)
    big = growth.widen(small, units="fresh", **wider(name))
    mapped, real = growth.carry(gradients(small), big), gradients(big)
    for key, piece in big.plan.items():
        got, wanted = mapped[key]["exp_avg"], real[key]["exp_avg"]
        known = torch.ones_like(got, dtype=torch.bool)
        for take in piece.takes:
            known &= take.shares(got) > 0
        assert torch.allclose(got[known], wanted[known], atol=1e-6), key
        assert not got[~known].any(), key


@pytest.mark.parametrize("name", NETS)
def test_old_layers_keep_their_gradients_in_a_deeper_net(name):
    small = moved(name, 1)
    big = growth.deepen(small, **deeper(name))
    mapped, real = growth.carry(gradients(small), big), gradients(big)
    assert set(real) > set(mapped)
    for key, moments in mapped.items():
        assert torch.allclose(moments["exp_avg"], real[key]["exp_avg"], atol=1e-6), key


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_in_two_pieces_is_the_run_in_one(optimizer):
    task = data.signals(64, 50)  # one batch holds them all: both pieces see the same samples
    halves = Recipe(
        steps=20, batch_size=64, warmup=0, lr_schedule="none", lr=1e-2, optimizer=optimizer
    )
    whole, cut, state = models.build(count.MLP(2, 8)), models.build(count.MLP(2, 8)), {}
    fit(whole, task, Recipe(**{**vars(halves), "steps": 40}))
    fit(cut, task, halves, state=state)
    fit(cut, task, halves, state=state)
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    if optimizer == "adamw":
        assert all(values["step"] == 40 for values in state.values())


def test_a_grown_run_goes_on_with_its_state():
    task, state = data.signals(500, 100), {}
    small = models.build(count.MLP(2, 8))
    fit(small, task, Recipe(steps=20), state=state)
    big = growth.deepen(growth.widen(small, width=12, noise=0.1), depth=3)
    with pytest.raises(ValueError, match=r"growth\.carry"):
        fit(big, task, Recipe(steps=1), state=state)
    wide = growth.widen(small, width=12)
    carried = growth.carry(state, wide)
    fit(wide, task, Recipe(steps=5), state=carried)
    assert all(values["step"] == 25 for values in carried.values())
