"""Data that cannot be made or cut is refused in words that begin with the argument."""

import numpy as np
import pytest
import torch

from modelscale.data import digits, letters, signals, text

SMALL = {"n_train": 10, "n_test": 10}


@pytest.mark.parametrize(
    ("make", "wrong", "name"),
    [
        (signals, {"templates": np.zeros((10, 11))}, "templates"),
        (signals, {"templates": np.zeros((10, 12))}, "templates"),
        (signals, {"templates": np.zeros(12)}, "templates"),
        (signals, {"templates": np.zeros((1, 12))}, "templates"),
        (signals, {"templates": np.full((3, 12), np.nan)}, "templates"),
        (signals, {"n_train": 0}, "n_train"),
        (signals, {"n_test": 2.5}, "n_test"),
        (signals, {"seed": -1}, "seed"),
        (signals, {"label_noise": 1.0}, "label_noise"),
        (signals, {"label_noise": -0.1}, "label_noise"),
        (signals, {"corr_noise": -1.0}, "corr_noise"),
        (signals, {"max_shift": 100}, "max_shift"),
        (signals, {"noise": 0.1}, "distortion='noise'"),
        (letters, {"n_train": 0}, "n_train"),
        (letters, {"seed": -1}, "seed"),
        (digits, {"size": 7}, "size"),
        (digits, {"seed": 0.5}, "seed"),
        (text, {"source": "books"}, "source"),
        (text, {"source": "synthetic", "n_bytes": 0}, "n_bytes"),
        (text, {"source": "synthetic", "n_bytes": 1.5}, "n_bytes"),
    ],
)
def test_a_mistake_names_its_argument(make, wrong, name):
    small = SMALL if make in (signals, letters) else {}
    with pytest.raises(ValueError, match=f"^{name}"):
        make(**{**small, **wrong})


@pytest.mark.parametrize("n", [9, 1001, 20.5])
def test_a_subset_is_of_what_there_is(n):
    with pytest.raises(ValueError, match=f"^n={n}: it must be"):
        signals(1000, 10).subset(n)


def test_batches_that_do_not_fit_are_told():
    data = text(2000, source="synthetic")
    for wrong in ((0, 16), (4, 0), (4, 2000)):
        with pytest.raises(ValueError, match="it must be"):
            data.batch(*wrong, torch.Generator())
    for n_batches, size in ((0, 4), (1, 5000)):
        with pytest.raises(ValueError, match="n_batches="):
            data.val_batches(size, 128, n_batches)
