"""Single weights set to zero; and what it takes until the clock notices."""

import copy
import warnings

import torch
from torch import Tensor, nn

from .. import check
from .layers import linear, replaced, weighted

BETA = "Sparse CSR tensor support is in beta state"


def prune(model, share: float, by: str = "magnitude", seed: int = 0):
    """A copy of `model` in which this share of all weights is zero, and stays zero in `fit`.

    The weights of linear maps and convolutions are ranked together, the smallest go first; `by`
    "random" takes any. Biases, norms and embeddings stay. The layers are as dense as before: zeros
    are stored and multiplied like any number. The gradients of what was cut are held at zero, in
    this copy, not in copies of it. Train it with `fit`, not `fit_many`, which does not know what
    was cut, and without the `state` of an older optimizer, whose momentum would move the zeros. To
    take whole units out, see `growth.narrow`.

    Raises: ValueError for a share outside 0 to 1 (1 excluded), another `by`, or a model without
    weights to cut.
    Source: Han 2015 (Learning both weights and connections), section 3, there with a threshold for
    each layer; Blalock 2020 (What is the state of neural network pruning?) for all at once.
    Taught in: 07_efficiency.
    """
    check.number("share", share, above=False, remedy="0.9 cuts nine weights of ten")
    if share >= 1:
        raise ValueError(f"share={share!r}: it must be below 1. To keep one in ten, take 0.9.")
    check.one_of("by", by, ("magnitude", "random"))
    new = copy.deepcopy(model)
    weights = [layer.weight for layer in weighted(new).values()]
    generator = torch.Generator().manual_seed(seed)
    for weight, keep in zip(weights, _kept(weights, share, by, generator), strict=True):
        with torch.no_grad():
            weight.mul_(keep)
        is_trained = weight.requires_grad  # a hook wants a weight that is
        weight.requires_grad_(True)
        weight.register_hook(lambda gradient, keep=keep: gradient * keep.to(gradient.device))
        weight.requires_grad_(is_trained)
    return new


def sparse(model):
    """A copy of `model` whose linear maps store and multiply only the weights that are not zero.

    For evaluation on a CPU. Convolutions and a head tied to the embedding stay.

    Raises: ValueError without a linear map.
    Taught in: 07_efficiency.
    """
    return replaced(model, lambda name, layer: SparseLinear(layer), linear(model))


class SparseLinear(nn.Module):
    """x W^T + b with W as compressed rows: (B, n_in) -> (B, n_out)."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=BETA)
            rows = layer.weight.detach().to_sparse_csr()
        # Three plain tensors, so that state_dict and device moves know them.
        self.register_buffer("starts", rows.crow_indices().int())
        self.register_buffer("columns", rows.col_indices().int())
        self.register_buffer("values", rows.values())
        self.size = tuple(rows.shape)
        self.out_features = self.size[0]
        self.bias = copy.deepcopy(layer.bias)

    def forward(self, x):
        weight = torch.sparse_csr_tensor(
            self.starts, self.columns, self.values, self.size, check_invariants=False
        )
        y = (weight @ x.flatten(0, -2).mT).mT.contiguous().unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias

    def flops(self, x: Tensor) -> int:
        """FLOPs of the weights that are left, for this input."""
        return 2 * len(self.values) * (x.numel() // self.size[1])


def _kept(weights, share, by, generator) -> list[Tensor]:
    """For each weight, 1 where it stays and 0 where it is cut, as floats."""
    if by == "magnitude":
        scores = torch.cat([weight.detach().abs().flatten() for weight in weights])
    else:
        n = sum(weight.numel() for weight in weights)
        scores = torch.rand(n, generator=generator).to(weights[0].device)
    keep = torch.ones_like(scores)
    keep[scores.argsort()[: round(share * len(scores))]] = 0
    parts = keep.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
