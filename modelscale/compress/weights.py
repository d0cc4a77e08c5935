"""Fewer weights: single ones set to zero or left out, and matrices as products of thin ones."""

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from .. import check
from .layers import linear, replaced, weighted

BETA = "Sparse CSR tensor support is in beta state"


def prune(model: nn.Module, share: float) -> nn.Module:
    """A copy of `model` in which the smallest of all weights, this share, are zero and stay zero.

    The weights of linear maps and convolutions are ranked together. The layers are as dense as
    before: zeros are stored and multiplied like any number. Their gradients are held at zero, in
    this copy, not in copies of it. Train it with `fit`, not `fit_many`, which does not know what
    was cut, and without the `state` of an older optimizer, whose momentum would move the zeros. To
    take whole units out, see `growth.narrow`.

    Source: Han 2015 (Learning both weights and connections), section 3, there with a threshold for
    each layer; Blalock 2020 (What is the state of neural network pruning?) for all at once.
    """
    check.number("share", share, above=False, remedy="0.9 cuts nine weights of ten")
    if share >= 1:
        check.refuse("share", share, "below 1", "to keep one weight in ten, take 0.9")
    new = copy.deepcopy(model)
    weights = [layer.weight for layer in weighted(new).values()]
    every = torch.cat([weight.detach().flatten() for weight in weights])
    # a number and not a share: torch would round it in another way
    cut = L1Unstructured(round(share * len(every)))
    kept = cut.compute_mask(every, torch.ones_like(every)).split([w.numel() for w in weights])
    for weight, keep in zip(weights, kept, strict=True):
        _hold(weight, keep.view_as(weight))
    return new


def sparse(model: nn.Module) -> nn.Module:
    """A copy of `model` whose linear maps store and multiply only the weights that are not zero.

    For evaluation on a CPU. Convolutions and a head tied to the embedding stay.
    """
    return replaced(model, _SparseLinear, linear(model))


def low_rank(model: nn.Module, rank: int) -> nn.Module:
    """A copy of `model` with each linear map as two: n_in -> rank -> n_out, from its SVD.

    No pair of this rank is nearer to the old weights (in the sum of squares). Maps for which a pair
    has more weights than the one it replaces stay. The copy can be trained by `fit`, which still
    counts the FLOPs of the old shape; `models.counted_flops` counts these.

    Source: Eckart and Young 1936; Denton 2014 (Exploiting linear structure), section 3.
    """
    most = {name: _largest_rank(layer) for name, layer in linear(model).items()}
    remedy = "above it a pair of factors has more weights than the map it replaces"
    check.integer("rank", rank, 1, max(most.values(), default=0), remedy)
    names = [name for name, largest in most.items() if rank <= largest]
    return replaced(model, lambda layer: _pair(layer, rank), names)


class _SparseLinear(nn.Module):
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
        self.out_features, self.in_features = rows.shape
        self.bias = copy.deepcopy(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:
            return x.new_empty(*x.shape[:-1], self.out_features)
        parts, size = (self.starts, self.columns, self.values), (self.out_features, x.shape[-1])
        weight = torch.sparse_csr_tensor(*parts, size, check_invariants=False)
        y = (weight @ x.flatten(0, -2).mT).mT.contiguous().unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias

    def flops(self, x: Tensor) -> int:
        """FLOPs of the weights that are left, for this input."""
        return 2 * len(self.values) * (x.numel() // self.in_features)


def _hold(weight, keep):
    """Set what is not kept to zero, in place, and hold its gradient there."""
    with torch.no_grad():
        weight.mul_(keep)
    if weight.requires_grad:
        weight.register_hook(lambda gradient: gradient * keep.to(gradient.device))


def _largest_rank(layer):
    """The largest rank at which a pair of factors has fewer weights than the map."""
    n_out, n_in = layer.weight.shape
    return (n_in * n_out - 1) // (n_in + n_out)


@torch.no_grad()
def _pair(layer, rank):
    n_out, n_in = layer.weight.shape
    u, s, vh = torch.linalg.svd(layer.weight, full_matrices=False)
    root = s[:rank].sqrt()
    # skip_init: no random numbers are drawn
    first = nn.utils.skip_init(nn.Linear, n_in, rank, bias=False)
    second = nn.utils.skip_init(nn.Linear, rank, n_out, bias=layer.bias is not None)
    first.weight.copy_(root[:, None] * vh[:rank])
    second.weight.copy_(u[:, :rank] * root)
    if layer.bias is not None:
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).to(layer.weight.device)
