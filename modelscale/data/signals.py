"""Short signals in ten classes: the smallest data on which linear < MLP < conv net.

A class is a template of 12 points. A sample is its template stretched, scaled, put anywhere on a
line of correlated noise, tilted, and read off at 40 points: the position tells nothing, the shape
everything. Legend: n samples, K classes, P stretches, W = 72 points of the line.
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from .. import check
from .base import Dataset, chunks, stream

TEMPLATE_POINTS, SIGNAL_POINTS = 12, 40
PADDING = (36, 60)  # zeros put behind a template: more of them squeeze it more
LINE_POINTS = TEMPLATE_POINTS + PADDING[1]
NOISE_WIDTH = 2.0  # standard deviation, in points of the line, of the kernel that smooths the noise

# Our own shapes, as sums of sin(pi k u), k = 1 2 3, on the way through u = 0..1. Each is a class,
# and each turned upside down is another. As hard as MNIST-1D's: from 4,000 samples, over 3 seeds,
# a linear map reaches .32 (theirs .32), an MLP of 2 x 100 .64 (.64), and a conv net of 3 x 25
# channels .92 (.91) of 10,000 test samples.
HARMONICS = (
    (6, 0, 1),  # a hill
    (2, 1, 0),  # an early hill
    (2, -1, 0),  # a late hill
    (0, 1, 0),  # a wave
    (1, 0, 1),  # two hills
)
N_HARMONICS = 4  # of a random shape


DISTORTION = {  # what happens to a template: MNIST-1D's values
    "corr_noise": 0.25,  # size of the smooth noise around the template, before smoothing
    "iid_noise": 0.02,  # size of the noise of single points, everywhere
    "scale": 0.4,  # the template is multiplied by 1 +- half of this
    "shear": 0.75,  # the line is tilted by +- half of this from end to end
    "max_shift": 48,  # the template starts at one of so many points of the line
}


def signals(
    n_train: int = 4000,
    n_test: int = 10_000,
    seed: int = 0,
    templates: np.ndarray | None = None,
    label_noise: float = 0.0,
    **distortion: float,
) -> Dataset:
    """A Dataset of 40-point signals in ten classes, or one class for each row of `templates`.

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
    templates = default_templates() if templates is None else _checked(templates)
    draw = _Generator(templates, _distorted_by(distortion))
    x_train, y_train = draw(n_train, seed, "train")
    x_test, y_test = draw(n_test, seed, "test")
    if label_noise:
        y_train = _moved(y_train, draw.n_classes, label_noise, stream(seed, "labels"))
    parts = (torch.from_numpy(part) for part in (x_train, y_train, x_test, y_test))
    return Dataset(*parts, n_classes=draw.n_classes, name="signals")


def default_templates() -> np.ndarray:
    """The ten shapes of the course, (10, 12): each begins and ends at 0."""
    rows = _shapes(np.array(HARMONICS))
    return np.stack([rows, -rows], axis=1).reshape(-1, TEMPLATE_POINTS)


def random_templates(n_classes: int, seed: int = 0) -> np.ndarray:
    """As many random smooth shapes, (n_classes, 12): other tasks of the same kind."""
    return _shapes(np.random.default_rng(seed).standard_normal((n_classes, N_HARMONICS)))


class _Generator:
    """Draws samples: the stretched templates and the linear maps are made once."""

    def __init__(self, templates: np.ndarray, distortion: dict):
        self.distortion, self.n_classes = distortion, len(templates)
        stretches = [_stretch(padding) for padding in range(PADDING[0], PADDING[1] + 1)]
        self.lines = np.stack([templates @ s.T for s in stretches]).astype(np.float32)  # (P, K, W)
        self.inside = np.stack([(s > 1e-9).any(axis=1) for s in stretches])  # (P, W)
        smoothing = gaussian_filter1d(np.eye(LINE_POINTS), NOISE_WIDTH, axis=0, mode="reflect")
        self.smooth = smoothing.T.astype(np.float32)
        self.read = _interpolation(LINE_POINTS, SIGNAL_POINTS).T.astype(np.float32)
        self.ramp = np.linspace(-0.5, 0.5, LINE_POINTS, dtype=np.float32)
        self.mean, self.std = 0.0, 1.0
        sample, _ = self(4000, 0, "calibrate")
        self.mean, self.std = sample.mean(), sample.std()

    def __call__(self, n: int, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        x = np.empty((n, SIGNAL_POINTS), dtype=np.float32)
        y = np.empty(n, dtype=np.int64)
        for rows, labels, rng in chunks(n, self.n_classes, seed, name):
            count = rows.stop - rows.start
            x[rows] = (self._chunk(labels, rng)[:count] - self.mean) / self.std
            y[rows] = labels[:count]
        return x, y

    def _chunk(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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
    right = rows.ndim == 2 and rows.shape[1] == TEMPLATE_POINTS and len(rows) > 1
    if not (right and np.isfinite(rows).all() and rows.any()):
        allowed = f"(K, {TEMPLATE_POINTS}) finite numbers, a row for each of K > 1 classes"
        check.refuse("templates of shape", rows.shape, allowed)
    return rows


def _distorted_by(changes: dict) -> dict:
    for name, value in changes.items():
        check.one_of("distortion", name, tuple(DISTORTION))
        check.number(name, value, above=False)
    check.integer("max_shift", changes.get("max_shift", 1), 1, LINE_POINTS)
    return DISTORTION | changes


def _moved(y: np.ndarray, n_classes: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The labels, a share of them replaced by one of the other classes."""
    chosen, step = rng.random((len(y), 2)).T  # a row a sample, so that more data moves no label
    other = (y + 1 + (step * (n_classes - 1)).astype(np.int64)) % n_classes
    return np.where(chosen < rate, other, y)


def _shapes(harmonics: np.ndarray) -> np.ndarray:
    """Sums of sines over 12 points, each with standard deviation 1/6 as in MNIST-1D."""
    u = np.linspace(0, 1, TEMPLATE_POINTS)
    waves = np.sin(np.pi * np.arange(1, harmonics.shape[1] + 1)[:, None] * u)
    rows = harmonics @ waves
    return rows / (6 * rows.std(axis=1, keepdims=True))


def _stretch(padding: int) -> np.ndarray:
    """The map from a template to the line when so many zeros follow it, (W, 12)."""
    return _interpolation(TEMPLATE_POINTS + padding, LINE_POINTS)[:, :TEMPLATE_POINTS]


def _interpolation(n_in: int, n_out: int) -> np.ndarray:
    """The matrix of linear interpolation from n_in to n_out points, (n_out, n_in)."""
    at = np.linspace(0, n_in - 1, n_out)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n_in)))
