"""Proves that the calibration error is the mean gap between confidence and being right, and that
the temperature repairs it without changing an answer.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelscale import calibration


def world(n=4000, sharpness=1.0, seed=0):
    """Logits whose labels are drawn from their own probabilities, then made `sharpness` sharper."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 10, generator=rng)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=rng)[:, 0]
    return sharpness * logits, labels


def by_hand(logits, labels, n_bins):
    p = logits.softmax(-1).numpy()
    sure, right = p.max(1), p.argmax(1) == labels.numpy()
    at = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    return sum(abs(np.sum((sure - right)[at == b])) for b in range(n_bins)) / len(labels)


@pytest.mark.parametrize("n_bins", [1, 5, 10])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_error_is_the_mean_gap_over_bins(sharpness, n_bins):
    logits, labels = world(sharpness=sharpness)
    wanted = by_hand(logits, labels, n_bins)
    assert calibration.calibration_error(logits, labels, n_bins) == pytest.approx(wanted, abs=1e-5)


def test_the_bins_share_out_all_samples_and_hold_their_own_confidences():
    logits, labels = world()
    found = calibration.bins(logits, labels)
    assert sum(share for _, _, share in found) == pytest.approx(1)
    assert all(low < sure for low, (sure, _, _) in zip(np.arange(0.1, 1, 0.1), found, strict=False))
    assert sorted(found) == found


def test_two_sure_answers_one_of_them_right():
    logits, labels = torch.tensor([[50.0, 0.0], [50.0, 0.0]]), torch.tensor([0, 1])
    assert calibration.calibration_error(logits, labels) == pytest.approx(0.5)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
def test_the_temperature_undoes_a_sharpening_and_changes_no_answer(sharpness):
    (logits, labels), (new, new_labels) = (world(sharpness=sharpness, seed=s) for s in (0, 1))
    t = calibration.temperature(logits, labels)
    assert t == pytest.approx(sharpness, rel=0.1)
    assert calibration.calibration_error(new / t, new_labels) < 0.04
    assert torch.equal((new / t).argmax(-1), new.argmax(-1))


@given(st.integers(0, 100), st.floats(0.3, 5))
def test_no_other_temperature_has_a_lower_loss(seed, other):
    logits, labels = world(n=200, sharpness=2.0, seed=seed)
    t = calibration.temperature(logits, labels)
    best, there = (float(torch.nn.functional.cross_entropy(logits / x, labels)) for x in (t, other))
    assert best <= there + 1e-4


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="n_bins=0"):
        calibration.bins(*world(10), n_bins=0)


@pytest.mark.parametrize("cut", [lambda y: y[:, None], lambda y: y[:1], lambda y: y[:0]])
def test_labels_of_another_shape_are_refused(cut):
    with pytest.raises(ValueError, match="labels"):
        calibration.calibration_error(torch.randn(6, 3), cut(torch.arange(6) % 3))
