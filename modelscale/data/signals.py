"""Short signals in ten classes: the smallest data on which linear < MLP < conv net.

A class is a template of 12 points. A sample is its template stretched, scaled, put anywhere on a
line of correlated noise, tilted, and read off at 40 points: the position tells nothing, the shape
everything. Legend: n samples, K classes, P stretches, W = 72 points of the line.
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from .. import check
from .base import Dataset, drawn, stream

TEMPLATE_POINTS, SIGNAL_POINTS = 12, 40
PADDING = (36, 60)  # zeros put behind a template: more of them squeeze it more
LINE_POINTS = TEMPLATE_POINTS + PADDING[1]
NOISE_WIDTH = 2.0  # standard deviation, in points of the line, of the kernel that smooths the noise

DISTORTION = {  # what happens to a template: MNIST-1D's values
    "corr_noise": 0.25,  # size of the smooth noise around the template, before smoothing
    "iid_noise": 0.02,  # size of the noise of single points, everywhere
    "scale": 0.4,  # the template is multiplied by 1 +- half of this
    "shear": 0.75,  # the line is tilted by +- half of this from end to end
    "max_shift": 48,  # the template starts at one of so many points of the line
}


def _shapes(harmonics: np.ndarray) -> np.ndarray:
    """Sums of sines over 12 points, each with standard deviation 1/6 as in MNIST-1D."""
    u = np.linspace(0, 1, TEMPLATE_POINTS)
    rows = harmonics @ np.sin(np.pi * np.arange(1, harmonics.shape[1] + 1)[:, None] * u)
    return rows / (6 * rows.std(axis=1, keepdims=True))


# Our own shapes, as sums of sin(pi k u), k = 1 2 3, on the way through u = 0..1. Each is a class,
# and each turned upside down is another. As hard as MNIST-1D's: from 4,000 samples, over 3 seeds,
# a linear map reaches .32 (theirs .32), an MLP of 2 x 100 .64 (.64), and a conv net of 3 x 25
# channels .92 (.91) of 10,000 test samples. A hill, an early and a late one, a wave, two hills.
_UPRIGHT = _shapes(np.array([(6, 0, 1), (2, 1, 0), (2, -1, 0), (0, 1, 0), (1, 0, 1)]))
TEMPLATES = np.stack([_UPRIGHT, -_UPRIGHT], axis=1).reshape(-1, TEMPLATE_POINTS)  # (10, 12)
N_HARMONICS = 4  # of a random shape


def signals(
    n_train: int = 4000,
    n_test: int = 10_000,
    seed: int = 0,
    templates: np.ndarray = TEMPLATES,
    label_noise: float = 0.0,
    **distortion: float,
) -> Dataset:
    """A Dataset of 40-point signals, a class for each row of `templates`.

    The test set depends on the seed alone, and a larger training set begins with the smaller one.
    `label_noise` is the share of training labels moved to another class; the test set stays clean.
    `distortion` replaces values of `DISTORTION`, as `corr_noise=0.1`. Classes are equally frequent
    in every 1,000 samples; for few per class take `subset`.

    Shapes: templates (K, 12) -> x (n, 40), y (n,)
    Units: x has about mean 0 and standard deviation 1, by constants that no data set enters.
    Source: design after Greydanus & Kobak, Scaling Down Deep Learning with MNIST-1D, ICML 2024
    (arXiv 2011.14439). Generator and templates are our own.
    """
    n_train, n_test = check.integer("n_train", n_train), check.integer("n_test", n_test)
    if check.number("label_noise", label_noise, above=False) >= 1:
        check.refuse("label_noise", label_noise, "a share of at least 0 and below 1")
    for name, value in distortion.items():
        check.one_of("distortion", name, tuple(DISTORTION))
        check.number(name, value, above=False)
    check.integer("max_shift", distortion.get("max_shift", 1), 1, LINE_POINTS)
    make, n_classes = _Line(_checked(templates), DISTORTION | distortion), len(templates)
    scale, _ = drawn(4000, n_classes, 0, "calibrate", make)
    parts = []
    for n, name in ((n_train, "train"), (n_test, "test")):
        x, y = drawn(n, n_classes, seed, name, make)
        if name == "train":
            y = _moved(y, n_classes, label_noise, stream(seed, "labels"))
        parts += [torch.from_numpy((x - scale.mean()) / scale.std()), torch.from_numpy(y)]
    return Dataset(*parts, n_classes=n_classes, name="signals")


def random_templates(n_classes: int, seed: int = 0) -> np.ndarray:
    """As many random smooth shapes, (n_classes, 12): other tasks of the same kind."""
    return _shapes(np.random.default_rng(seed).standard_normal((n_classes, N_HARMONICS)))


class _Line:
    """Makes samples: the stretched templates and the linear maps are made once."""

    def __init__(self, templates: np.ndarray, distortion: dict):
        self.distortion = distortion
        stretches = [  # maps from a template to the line when so many zeros follow it, (W, 12)
            _interpolation(TEMPLATE_POINTS + zeros, LINE_POINTS)[:, :TEMPLATE_POINTS]
            for zeros in range(PADDING[0], PADDING[1] + 1)
        ]
        self.lines = np.stack([templates @ s.T for s in stretches]).astype(np.float32)  # (P, K, W)
        self.inside = np.stack([(s > 1e-9).any(axis=1) for s in stretches])  # (P, W)
        smoothing = gaussian_filter1d(np.eye(LINE_POINTS), NOISE_WIDTH, axis=0, mode="reflect")
        self.smooth = smoothing.T.astype(np.float32)
        self.read = _interpolation(LINE_POINTS, SIGNAL_POINTS).T.astype(np.float32)
        self.ramp = np.linspace(-0.5, 0.5, LINE_POINTS, dtype=np.float32)

    def __call__(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One signal for each label, (n, 40)."""
        by, n = self.distortion, len(labels)
        stretch = rng.integers(len(self.lines), size=n)
        start = rng.integers(by["max_shift"], size=n)[:, None]
        where = (np.arange(LINE_POINTS) - start) % LINE_POINTS
        size = 1 + by["scale"] * (rng.random((n, 1), dtype=np.float32) - 0.5)
        tilt = by["shear"] * (rng.random((n, 1), dtype=np.float32) - 0.5)
        noise, grain = rng.standard_normal((2, n, LINE_POINTS), dtype=np.float32)
        shape = size * self.lines[stretch[:, None], labels[:, None], where]
        around = by["corr_noise"] * noise @ self.smooth
        line = np.where(self.inside[stretch[:, None], where], shape, around)
        return (line + by["iid_noise"] * grain - tilt * self.ramp) @ self.read


def _checked(templates: np.ndarray) -> np.ndarray:
    rows = np.asarray(templates, dtype=np.float64)
    wrong = rows.ndim != 2 or rows.shape[1] != TEMPLATE_POINTS or len(rows) < 2
    if wrong or not (np.isfinite(rows).all() and rows.any()):
        allowed = f"(K, {TEMPLATE_POINTS}) finite numbers, a row for each of K > 1 classes"
        check.refuse("templates of shape", rows.shape, allowed)
    return rows


def _moved(y: np.ndarray, n_classes: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The labels, a share of them replaced by one of the other classes."""
    chosen, step = rng.random((len(y), 2)).T  # a row a sample, so that more data moves no label
    other = (y + 1 + (step * (n_classes - 1)).astype(np.int64)) % n_classes
    return np.where(chosen < rate, other, y)


def _interpolation(n_in: int, n_out: int) -> np.ndarray:
    """The matrix of linear interpolation from n_in to n_out points, (n_out, n_in)."""
    at = np.linspace(0, n_in - 1, n_out)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n_in)))
