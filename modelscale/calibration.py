"""How far the confidence of a network is from the share of its right answers, and the repair.

Legend: n samples, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import check

TEMPERATURES = (0.25, 16.0)  # searched between these


def bins(logits: Tensor, labels: Tensor, n_bins: int = 10) -> list[tuple[float, float, float]]:
    """(mean confidence, share right, share of all samples) of each bin that is not empty.

    Bins are equally wide from confidence 0 to 1.
    Shapes: logits (n, K), labels (n,).
    Raises: ValueError for other shapes, or no samples.
    Taught in: 04_overfitting.
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}: they must be (n, K) and "
            "(n,), n at least 1. Flatten the labels."
        )
    confidence, answer = logits.softmax(-1).max(-1)
    at = (confidence * check.integer("n_bins", n_bins)).long().clamp(max=n_bins - 1)
    right, found = (answer == labels).float(), []
    for b in at.unique().tolist():
        rows = at == b
        means = (confidence[rows].mean(), right[rows].mean(), rows.float().mean())
        found.append(tuple(float(mean) for mean in means))
    return found


def calibration_error(logits: Tensor, labels: Tensor, n_bins: int = 10) -> float:
    """The expected calibration error: mean gap between confidence and share right, over bins.

    Shapes: logits (n, K), labels (n,).
    Source: Guo 2017 (On calibration of modern neural networks), after Naeini 2015.
    Taught in: 04_overfitting.
    """
    return sum(abs(sure - right) * share for sure, right, share in bins(logits, labels, n_bins))


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The number by which to divide all logits so that the loss on these samples is least.

    Shapes: logits (n, K), labels (n,), of samples that took no part in training.
    Source: Guo 2017 (On calibration of modern neural networks), temperature scaling.
    Taught in: 04_overfitting.
    """
    low, high = TEMPERATURES
    grid = torch.linspace(0, 1, 200).mul_(torch.tensor(high / low).log()).exp_().mul_(low)
    return float(min(grid, key=lambda t: F.cross_entropy(logits / t, labels)))
