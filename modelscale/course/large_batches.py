"""What belongs to 12_large_batches: a formula, its checkers, the colleagues of its lab.

Source: McCandlish 2018 (An empirical model of large-batch training), appendix A.1.
"""

import math

import torch
from torch.nn import functional as F

from .. import models
from . import exercise, letter

COLLEAGUES = ("one", "other")


def noise_scale(small_sq: float, large_sq: float, small: int, large: int) -> float:
    """tr(S) / |G|^2 in samples, from mean squared lengths of gradients over two sizes of batches.

    Infinite where no gradient is left. Single steps are poor estimates: give means over many.
    """
    gradient_sq = (large * large_sq - small * small_sq) / (large - small)
    trace = (small_sq - large_sq) / (1 / small - 1 / large)
    return trace / gradient_sq if gradient_sq > 0 else math.inf


def accumulated(colleague: str, shape, x: torch.Tensor, y: torch.Tensor, parts: int, make) -> dict:
    """Length of the first gradient and loss after an epoch, each batch of 64 cut into `parts`.

    `make(parameters)` is the optimizer.
    """
    model, found = models.build(shape, seed=0), {}
    optimizer = make(model.parameters())
    for rows in torch.arange(len(y)).split(64):
        optimizer.zero_grad()
        for part in rows.chunk(parts):
            loss = F.cross_entropy(model(x[part]), y[part])
            (loss if colleague == COLLEAGUES[1] else loss / parts).backward()
        lengths = torch.stack([p.grad.norm() for p in model.parameters()])
        found.setdefault("gradient", float(lengths.norm()))
        optimizer.step()
    with torch.no_grad():
        return found | {"loss": float(F.cross_entropy(model(x), y))}


check_accumulation = letter(
    "by which factor does the gradient grow, and which optimizer does not mind the size of one?",
    right="c",
    wrong={
        "a": "the parts of the one are as small, and his gradient keeps its length.",
        "b": "then its length would not grow with the number of parts.",
        "d": "a learning rate cannot change the length of the first gradient.",
    },
)

_PAIRS = [(80.0, 2.0, 16, 32), (3.0, 0.5, 1, 256), (1e4, 0.1, 128, 1024)]  # trace, |G|^2, batches
check_critical_batch = exercise(
    "the difference of the two equations holds tr(S) alone; with it, either of them gives |G|^2. "
    "The batch is tr(S) / |G|^2.",
    name="critical_batch",
    cases=[(sq + trace / m, sq + trace / n, m, n) for trace, sq, m, n in _PAIRS],
    reference=noise_scale,
)
