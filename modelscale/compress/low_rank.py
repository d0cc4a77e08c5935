"""A matrix as the product of two thin ones."""

import torch
from torch import nn

from .. import check
from .layers import linear, replaced


def low_rank(model: nn.Module, rank: int) -> nn.Module:
    """A copy of `model` with each linear map as two: n_in -> rank -> n_out, from its SVD.

    No pair of this rank is nearer to the old weights (in the sum of squares). Maps for which a pair
    has more weights than the one it replaces stay. The copy can be trained by `fit`, which still
    counts the FLOPs of the old shape; `models.counted_flops` counts these.

    Source: Eckart and Young 1936; Denton 2014 (Exploiting linear structure), section 3.
    """
    most = {name: _largest_rank(layer) for name, layer in linear(model).items()}
    remedy = "above it a pair of factors has more weights than the map it replaces"
    check.integer("rank", rank, 1, max(most.values()), remedy)
    names = [name for name, largest in most.items() if rank <= largest]
    return replaced(model, lambda layer: _pair(layer, rank), names)


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
