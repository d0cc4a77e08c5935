"""Proves that signals are what they claim: MNIST-1D's distribution from its own templates, the
same for one seed, nested as the training set grows, clean in the test set, and no global seed used.
"""

import random

import numpy as np
import pytest
import torch

from modelscale.data import TEMPLATES, Dataset, random_templates, signals


def _global_states():
    key, position = np.random.get_state()[1:3]
    return random.getstate(), key.tobytes(), position, torch.get_rng_state().tolist()


@pytest.fixture(scope="module")
def pair():
    """Our generator and that of the mnist1d package, on its templates: (x, y) of each."""
    mnist1d = pytest.importorskip("mnist1d.data")
    states = random.getstate(), np.random.get_state()
    args = mnist1d.get_dataset_args()
    args.num_samples, args.train_split = 4000, 1.0
    theirs = mnist1d.make_dataset(args)  # seeds both global generators
    random.setstate(states[0])
    np.random.set_state(states[1])
    ours = signals(12_000, 10, seed=3, templates=mnist1d.get_templates()["x"])
    return (ours.x_train.numpy(), ours.y_train.numpy()), (theirs["x"], theirs["y"])


def _by_class(pair, measure):
    return [np.stack([measure(x[y == label]) for label in range(10)]) for x, y in pair]


def test_distribution_is_that_of_mnist1d_in_mean_and_spread(pair):
    for measure, band in ((np.mean, 0.04), (np.std, 0.04)):
        ours, theirs = _by_class(pair, measure)
        assert np.abs(ours - theirs).max() < band
    ours, theirs = _by_class(pair, lambda x: x.mean(0))
    assert np.abs(ours - theirs).max() < 0.3  # 400 samples a class: over 4 standard errors


def test_distribution_is_that_of_mnist1d_in_neighbours_and_tails(pair):
    def autocorrelation(x):
        return np.array([(x[:, lag:] * x[:, :-lag]).mean() for lag in (1, 2, 4, 8)]) / x.var()

    ours, theirs = _by_class(pair, autocorrelation)
    assert np.abs(ours - theirs).max() < 0.06
    ours, theirs = _by_class(pair, lambda x: np.quantile(x, (0.01, 0.1, 0.5, 0.9, 0.99)))
    assert np.abs(ours - theirs).max() < 0.12
    assert np.abs(ours - theirs).mean() < 0.03


def test_shapes_types_and_scale():
    data = signals(2003, 1001)
    assert data.x_train.shape == (2003, 40) and data.x_test.shape == (1001, 40)
    assert data.x_train.dtype == torch.float32 and data.y_test.dtype == torch.int64
    assert data.x_train.is_contiguous()
    assert abs(data.x_test.mean()) < 0.1 and 0.95 < data.x_test.std() < 1.05
    assert data.y_train[:1000].bincount().tolist() == [100] * 10


def test_same_seed_same_data_and_another_seed_other_data():
    one, same, other = signals(50, 50, seed=1), signals(50, 50, seed=1), signals(50, 50, seed=2)
    assert torch.equal(one.x_train, same.x_train) and torch.equal(one.y_test, same.y_test)
    assert not torch.equal(one.x_train, other.x_train)
    assert not torch.equal(one.y_train, other.y_train)


def test_larger_training_set_begins_with_the_smaller_and_moves_no_test():
    small = signals(1234, 100, label_noise=0.3)
    large = signals(3456, 100, label_noise=0.3)
    assert torch.equal(small.x_train, large.x_train[:1234])
    assert torch.equal(small.y_train, large.y_train[:1234])
    assert torch.equal(small.x_test, large.x_test)


def test_no_sample_is_drawn_twice():
    data = signals(3000, 3000)
    rows = np.concatenate([data.x_train.numpy(), data.x_test.numpy()])
    assert len(np.unique(rows, axis=0)) == 6000


def test_global_generators_are_left_alone():
    before = _global_states()
    signals(100, 100, label_noise=0.1).subset(50)
    assert _global_states() == before


@pytest.mark.parametrize("rate", [0.15, 0.6])
def test_label_noise_has_the_rate_asked_for_and_spares_the_test_set(rate):
    clean, noisy = signals(20_000, 500), signals(20_000, 500, label_noise=rate)
    moved = clean.y_train != noisy.y_train
    assert abs(moved.float().mean() - rate) < 0.02
    assert torch.equal(clean.y_test, noisy.y_test) and torch.equal(clean.x_train, noisy.x_train)
    assert noisy.y_train[moved].bincount(minlength=10).min() > 0.08 * moved.sum()


def test_recipe_fields_matter():
    plain, calm = signals(500, 10), signals(500, 10, corr_noise=0.0, iid_noise=0.0, shear=0.0)
    shares = [
        ((data.x_train - data.x_train.median(1, keepdim=True).values).abs() < 1e-3).float().mean()
        for data in (calm, plain)
    ]
    assert shares[0] > 0.4 and shares[1] < 0.1  # of points at rest


def test_templates_are_the_classes():
    assert TEMPLATES.shape == (10, 12)
    np.testing.assert_allclose(TEMPLATES.std(1), 1 / 6)
    data = signals(1000, 60, templates=random_templates(40, seed=1))
    assert data.n_classes == 40 and data.y_train.bincount().tolist() == [25] * 40
    assert not np.allclose(random_templates(5, seed=1), random_templates(5, seed=2))


def test_subset_is_balanced_nested_and_seeded():
    data = signals(1037, 20)
    part = data.subset(25, seed=4)
    assert sorted(part.y_train.bincount().tolist()) == [2] * 5 + [3] * 5
    rows = {tuple(row) for row in data.subset(60, seed=4).x_train.tolist()}
    assert {tuple(row) for row in part.x_train.tolist()} <= rows
    assert not torch.equal(part.x_train, data.subset(25, seed=5).x_train)
    assert torch.equal(part.x_test, data.x_test)
    assert torch.equal(data.subset(1037).x_train, data.x_train)
    line = repr(data)
    assert "1,037" in line and "(40,)" in line and "\n" not in line and "tensor" not in line


def test_subset_takes_what_a_rare_class_has():
    y = torch.tensor([0] * 50 + [1] * 3)
    data = Dataset(torch.randn(53, 2), y, torch.randn(1, 2), y[:1], 2, "rare")
    assert data.subset(20).y_train.bincount().tolist() == [17, 3]
