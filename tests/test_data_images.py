"""Proves that letters are drawn: every class, none blank, none twice, the same for one seed; and
that the handwritten digits are split without loss and scaled by their training part.
"""

import random

import numpy as np
import pytest
import torch

from modelscale.data import digits, letters


def _global_states():
    key, position = np.random.get_state()[1:3]
    return random.getstate(), key.tobytes(), position, torch.get_rng_state().tolist()


@pytest.fixture(scope="module")
def drawn():
    return letters(1480, 370, seed=0)


def test_every_class_is_drawn(drawn):
    assert drawn.n_classes == 37
    assert (drawn.y_train[:999].bincount() == 27).all()
    assert drawn.x_train.shape == (1480, 1, 16, 16) and drawn.x_train.dtype == torch.float32
    assert drawn.y_train.dtype == torch.int64


def test_no_image_is_blank_or_drawn_twice(drawn):
    x = torch.cat([drawn.x_train, drawn.x_test]).flatten(1)
    assert x.std(1).min() > 0.3
    assert (x.amax(1) - x.amin(1)).min() > 1.5
    assert len(np.unique(x.numpy(), axis=0)) == len(x)


def test_classes_look_different(drawn):
    """The nearest class mean finds far more of new images than the 1 in 37 of chance."""
    means = torch.stack([drawn.x_train[drawn.y_train == k].mean(0).flatten() for k in range(37)])
    guess = torch.cdist(drawn.x_test.flatten(1), means).argmin(1)
    assert (guess == drawn.y_test).float().mean() > 0.2


def test_scale_is_about_one(drawn):
    assert abs(drawn.x_test.mean()) < 0.1 and 0.9 < drawn.x_test.std() < 1.1


def test_seeds_prefixes_and_global_generators():
    before = _global_states()
    one, more, other = letters(50, 20), letters(1100, 20), letters(50, 20, seed=1)
    assert torch.equal(one.x_train, more.x_train[:50]) and torch.equal(one.x_test, more.x_test)
    assert torch.equal(one.x_train, letters(50, 20).x_train)
    assert not torch.equal(one.x_train, other.x_train)
    assert _global_states() == before


def test_digits_are_all_there_in_the_sizes_asked_for():
    data = digits()
    assert data.x_train.shape == (1200, 1, 8, 8) and data.x_test.shape == (597, 1, 8, 8)
    assert data.x_train.dtype == torch.float32 and data.y_train.dtype == torch.int64
    counts = torch.cat([data.y_train, data.y_test]).bincount()
    assert len(counts) == 10 and counts.min() > 170 and counts.sum() == 1797
    assert digits(size=16).x_test.shape == (597, 1, 16, 16)
    assert abs(data.x_train.mean()) < 1e-4 and abs(data.x_train.std() - 1) < 1e-4
    assert abs(data.x_test.mean()) > 1e-4  # scaled by the training part alone


def test_digits_are_shuffled_by_the_seed():
    assert torch.equal(digits(seed=1).x_train, digits(seed=1).x_train)
    assert not torch.equal(digits(seed=1).y_train, digits(seed=2).y_train)


def test_moved_digits_are_the_same_digits_elsewhere_on_the_page():
    """The labels stay, every image changes, and the nearest pixels no longer tell the class."""
    still, moved = digits(size=16), digits(size=16, moved=True)
    for part in ("train", "test"):
        before, after = getattr(still, f"x_{part}"), getattr(moved, f"x_{part}")
        assert torch.equal(getattr(still, f"y_{part}"), getattr(moved, f"y_{part}"))
        assert after.shape == before.shape and abs(after.mean() - before.mean()) < 0.15
        assert (after - before).flatten(1).abs().mean(1).min() > 0.05  # each of them
    assert _nearest(still) > _nearest(moved) + 0.2
    assert torch.equal(moved.x_test, digits(size=16, moved=True).x_test)
    assert not torch.equal(moved.x_test, digits(size=16, seed=1, moved=True).x_test)


def _nearest(data):
    """The accuracy of the label of the nearest of 100 training images."""
    few = data.subset(100)
    nearest = torch.cdist(few.x_test.flatten(1), few.x_train.flatten(1)).argmin(1)
    return float((few.y_train[nearest] == few.y_test).float().mean())
