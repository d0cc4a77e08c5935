"""Proves that both estimators of the gradient noise scale find the trace and the gradient that a
network's own samples have, without bias, and that a law of steps is found again from its steps.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from modelscale import count, models
from modelscale.tuning import noise_scale

N = 400


@pytest.fixture(scope="module")
def rows():
    """The gradient of each of N samples, one after the other: (N, P)."""
    model, x, y = network(), *samples()
    found = []
    for i in range(N):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.stack(found)


def network():
    return models.build(count.MLP(2, 16))


def samples():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 40, generator=generator)
    return x, (x[:, 0] > 0).long()  # something to learn: a gradient beside the noise


def test_per_sample_gradients_give_the_variance_and_the_mean(rows):
    found = noise_scale.from_samples(network(), *samples())
    trace = float(rows.var(0).sum())
    assert found.trace == pytest.approx(trace, rel=1e-4)
    assert found.gradient_sq == pytest.approx(
        float(rows.mean(0).square().sum()) - trace / N, rel=1e-3
    )
    assert found.scale == found.trace / found.gradient_sq
    assert noise_scale.Noise(1.0, -0.1).scale == float("inf")


def test_the_squared_gradient_is_estimated_without_bias(rows):
    """Over many draws of 20 of the samples, both estimators hit what all samples have."""
    rng = np.random.default_rng(0)
    truth = float(rows.mean(0).square().sum())
    trace = float(rows.var(0, correction=0).sum())
    pairs = []
    for _ in range(4000):
        part = rows[rng.integers(N, size=20)]
        pairs.append((part[:5].mean(0).square().sum(), part.mean(0).square().sum()))
    small, large = np.mean(np.array(pairs), 0)
    found = noise_scale.from_two_batches(small, large, 5, 20)
    assert found.trace == pytest.approx(trace, rel=0.05)
    assert found.gradient_sq == pytest.approx(truth, rel=0.05)


def test_two_batches_are_solved_exactly():
    g, trace = 3.0, 80.0
    found = noise_scale.from_two_batches(g + trace / 8, g + trace / 64, 8, 64)
    assert (found.gradient_sq, found.trace) == (pytest.approx(g), pytest.approx(trace))
    assert found.scale == pytest.approx(trace / g)


def test_the_law_of_steps_is_found_again():
    batches = [8, 32, 128, 512]
    steps = noise_scale.steps_to(batches, 20, 200)
    assert steps[0] == 20 * (1 + 200 / 8)
    assert noise_scale.fit_critical(batches, steps) == pytest.approx((20, 200))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: noise_scale.from_two_batches(1.0, 1.0, 8, 8), "large=8"),
        (lambda: noise_scale.from_two_batches(1.0, 1.0, 0, 8), "small=0"),
        (lambda: noise_scale.from_samples(network(), *(s[:1] for s in samples())), "samples=1"),
        (lambda: noise_scale.fit_critical([8], [1.0]), "batches=1"),
        (lambda: noise_scale.fit_critical([8, 16], [1.0, 2.0]), "fall with the batch"),
    ],
)
def test_bad_input_is_answered(call, told):
    with pytest.raises(ValueError, match=told):
        call()


@pytest.mark.parametrize("steps", [[100], [100, None, 30], [100, math.inf, 30]])
def test_steps_that_were_never_reached_are_refused(steps):
    with pytest.raises(ValueError, match="steps"):
        noise_scale.fit_critical([8, 16, 32], steps)
