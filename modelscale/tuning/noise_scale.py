"""The noise of a gradient against its size: how large a batch may be before samples are wasted.

A gradient over B samples has the true gradient G as its mean and tr(S)/B as its variance, S the
covariance of the gradient of one sample. At B = tr(S)/|G|^2, the noise scale, the two are equal:
much smaller batches measure noise, much larger ones measure G better than a step can use.
Source: McCandlish 2018 (An empirical model of large-batch training), section 2.2 and appendix A.1.
Legend: B batch, n samples, P parameters.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from .. import check
from ..laws.points import measured


@dataclass(frozen=True)
class Noise:
    """What is known of a gradient's noise; estimates of the two parts, averaged where added up."""

    trace: float  # tr(S): the variance of one sample's gradient, all parameters together
    gradient_sq: float  # |G|^2; as an unbiased estimate it may fall below 0

    @property
    def scale(self) -> float:
        """The noise scale in samples, McCandlish's B_simple; infinite where no gradient is left."""
        return self.trace / self.gradient_sq if self.gradient_sq > 0 else float("inf")


def from_two_batches(small_sq: float, large_sq: float, small: int, large: int) -> Noise:
    """The noise from the mean squared lengths of gradients over small and over large batches.

    Data parallelism has both at hand: each rank's own gradient, and their average. Single
    estimates are poor: give means over many steps.

    Raises: ValueError unless 1 <= small < large.
    Source: McCandlish 2018, equations A.2 and A.3.
    """
    large = check.integer("large", large, low=check.integer("small", small) + 1)
    gradient_sq = (large * large_sq - small * small_sq) / (large - small)
    return Noise((small_sq - large_sq) / (1 / small - 1 / large), gradient_sq)


def from_samples(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Noise:
    """The noise from the gradient of each sample by itself.

    Shapes: x (n, ...), y (n,), n at least 2; memory for n x P numbers.
    Raises: ValueError for fewer than two samples.
    """
    n = check.integer("samples", len(y), 2)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, x, y):
        return F.cross_entropy(functional_call(model, weights, (x[None],)), y[None])

    x = x.to(next(iter(weights.values())).dtype)
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    rows = torch.cat([g.flatten(1) for g in each.values()], 1)  # (n, P)
    trace = float(rows.var(0, correction=1).sum())
    return Noise(trace, float(rows.mean(0).square().sum()) - trace / n)


def steps_to(batch, least_steps: float, critical: float):
    """Steps that reach a loss with batches of this size: S_min (1 + B_crit / B).

    Source: McCandlish 2018, equation 2.11 in its form for steps.
    """
    return least_steps * (1 + critical / np.asarray(batch, float))


def fit_critical(batches, steps) -> tuple[float, float]:
    """(S_min, B_crit) that describe the steps to a loss by batch size, in relative terms.

    At B_crit twice the fewest steps and twice the fewest samples are needed.

    Raises: ValueError for fewer than two sizes, numbers that are not finite and above 0, unequal
    lengths, or where more samples a step bring nothing.
    """
    batches, steps = measured(batches=batches, steps=steps)
    check.integer("batches", len(batches), 2)
    columns = np.stack([np.ones(len(batches)), 1 / batches], 1) / steps[:, None]
    least_steps, least_samples = np.linalg.lstsq(columns, np.ones(len(batches)))[0]
    if least_steps <= 0 or least_samples <= 0:
        raise ValueError(
            f"steps={steps.tolist()}: they must fall with the batch, and level off. Give batches "
            "from far below to far above the noise scale."
        )
    return float(least_steps), float(least_samples / least_steps)
