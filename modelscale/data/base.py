"""What every data set of the course is: four tensors, and the random streams they come from.

Legend: n samples, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .. import check

STREAMS = ("train", "test", "calibrate", "labels")  # never mixed with one another
CHUNK = 1000  # samples drawn by one generator; another size would give other samples


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A classification task. x: (n, ...) float32, y: (n,) int64 in 0..K-1.

    Samples of another precision and labels of another size are converted.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int
    name: str

    def __post_init__(self):
        for split in ("train", "test"):
            x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if y.is_floating_point():
                check.refuse(f"y_{split}.dtype", y.dtype, "whole numbers", "give classes from 0")
            object.__setattr__(self, f"x_{split}", x.float() if x.is_floating_point() else x)
            object.__setattr__(self, f"y_{split}", y.long())

    def subset(self, n: int, seed: int = 0) -> "Dataset":
        """The same task with `n` of its training samples, as many of each class as can be.

        With one seed a smaller subset is part of every larger one. The test set stays.
        """
        remedy = "at least one sample a class is needed, and no sample is used twice"
        n = check.integer("n", n, self.n_classes, len(self.y_train), remedy)
        rows = _balanced_order(self.y_train.numpy(), np.random.default_rng(seed))[:n]
        keep = torch.from_numpy(np.sort(rows))
        return replace(self, x_train=self.x_train[keep], y_train=self.y_train[keep])

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.y_train):,} training and {len(self.y_test):,} test samples "
            f"of shape {tuple(self.x_train.shape[1:])} in {self.n_classes} classes"
        )


def stream(seed: int, name: str, chunk: int = 0) -> np.random.Generator:
    """A random generator of its own for one chunk of one stream of one seed."""
    key = STREAMS.index(name), chunk
    seeds = np.random.SeedSequence(check.integer("seed", seed, 0), spawn_key=key)
    return np.random.default_rng(seeds)


def drawn(n: int, n_classes: int, seed: int, name: str, make: Callable) -> tuple:
    """(x, y) of n samples, NumPy's: x as `make(labels, generator)` makes it, chunk by chunk.

    A chunk is always made whole and cut afterwards: so the first samples of a large set are those
    of a small one. Each whole chunk holds every class equally often, in random order.
    """
    size = n_classes * max(1, CHUNK // n_classes)
    x, y = [], []
    for index in range(-(-n // size)):
        rng = stream(seed, name, index)
        y.append(rng.permutation(np.arange(size) % n_classes))
        x.append(make(y[-1], rng))
    return np.concatenate(x)[:n], np.concatenate(y)[:n]


def _balanced_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows in rounds: each round takes one sample of every class that has any left."""
    order = rng.permutation(len(y))
    same = y[order, None] == np.unique(y)  # (n, K), one in each row
    return order[np.argsort(same.cumsum(0)[same], kind="stable")]
