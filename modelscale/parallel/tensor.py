"""Tensor parallelism: every matrix of a GPT split over ranks, which compute each layer together.

A linear map y = x A is split by columns of A where each rank can go on alone with its part of y,
then by rows of the next matrix, whose partial results add up. torch keeps A as its transpose, so
columns of A are rows of `weight`.

Legend: p ranks in the group, B batch, T tokens, C channels, H heads, F hidden width of the MLP.
Source: Shoeybi 2019 (Megatron-LM), section 3; Korthikanti 2022, section 4.2.2, for `sequence`.
"""

import copy
from collections.abc import Callable
from functools import partial
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from .. import check, models
from .operators import (
    all_reduce,
    copy_to_ranks,
    gather_tokens,
    own_tokens,
    scatter_tokens,
    sum_over_ranks,
)
from .vocabulary import VocabularyEmbedding


def split(model: nn.Module, group: dist.ProcessGroup, sequence: bool = False) -> nn.Module:
    """This rank's share of a GPT, or of its Block, Attention or FeedForward; `model` stays.

    A GPT then returns the logits of this rank's part of the vocabulary: (B, T) -> (B, T, V / p),
    for `vocabulary.loss`. With `sequence`, each rank norms and adds only its own tokens: a part of
    a GPT takes and returns them, (B, T / p, C), a GPT cuts them by itself.

    Raises: ValueError for experts, or where the ranks do not divide heads, widths or vocabulary.
    Taught in: 09_model_parallel.
    """
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(module, models.Mixture):
            raise ValueError(
                "model holds a Mixture: its MLPs must be dense. Split experts over ranks with"
                " parallel.expert instead."
            )
        if isinstance(module, models.Attention):
            _split_attention(module, group, sequence)
        elif isinstance(module, models.FeedForward):
            _split_mlp(module, group, sequence)
        elif isinstance(module, models.GPT):
            _split_vocabulary(module, group, sequence)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and sequence:
            _sum_gradients(module.parameters(), group)
    return model


class ColumnLinear(nn.Module):
    """This rank's columns of a linear map: `enter`, then (B, T, C) -> (B, T, F / p)."""

    def __init__(self, linear: nn.Linear, columns: torch.Tensor, enter: Callable):
        super().__init__()
        self.enter = enter
        self.places = {"weight": (0, columns), "bias": (0, columns)}
        self.weight = _part(linear.weight, columns)
        self.bias = None if linear.bias is None else _part(linear.bias, columns)

    def forward(self, x):
        return F.linear(self.enter(x), self.weight, self.bias)


class RowLinear(nn.Module):
    """This rank's rows of a linear map: (B, T, F / p) -> (B, T, C), then `leave`, then the bias.

    The bias is whole on every rank, and is added once: after the sum.
    """

    def __init__(self, linear: nn.Linear, rows: torch.Tensor, leave: Callable):
        super().__init__()
        self.leave = leave
        self.places = {"weight": (1, rows)}
        self.weight = _part(linear.weight, (slice(None), rows))
        self.bias = None if linear.bias is None else _part(linear.bias, slice(None))

    def forward(self, x):
        y = self.leave(F.linear(x, self.weight))
        return y if self.bias is None else y + self.bias


def _part(parameter, index):
    """A copy of a part of `parameter`, frozen where that is."""
    return nn.Parameter(parameter.detach()[index].clone(), parameter.requires_grad)


def share(lengths: list[int], rank: int, ranks: int) -> torch.Tensor:
    """The indices that `rank` holds where parts of these lengths lie end to end: its share of each.

    The queries, keys and values of a fused map are three parts, of which each rank needs its heads.

    Shapes: -> (sum(lengths) / ranks,)
    Raises: ValueError where `ranks` does not divide a length.
    Taught in: 09_model_parallel.
    """
    check.integer("ranks", ranks)
    check.integer("rank", rank, 0, ranks - 1)
    for length in lengths:
        check.divides("ranks", ranks, "length", length, "choose widths that the ranks divide")
    starts = accumulate(lengths, initial=0)
    parts = zip(lengths, starts, strict=False)  # one start more than lengths
    own = [start + n // ranks * rank + torch.arange(n // ranks) for n, start in parts]
    return torch.cat(own)


def own_part(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What this rank holds of the dense model's `tensors` (weights, or gradients, by name)."""
    places, own = _places(model), dict(tensors)
    for name in places.keys() & tensors.keys():
        dim, index = places[name]
        own[name] = tensors[name].index_select(dim, index.to(tensors[name].device))
    return own


def whole(
    model: nn.Module, tensors: dict[str, torch.Tensor], group: dist.ProcessGroup
) -> dict[str, torch.Tensor]:
    """The dense model's tensors, of the parts that the ranks hold: undoes `own_part`.

    Every rank gets them all, so this is for checkpoints and checks, not for large models.
    """
    places, dense = _places(model), {}
    for name, tensor in tensors.items():
        dense[name] = tensor.detach().clone()
        if name in places:
            dim, index = places[name]
            shape = list(tensor.shape)
            shape[dim] *= group.size()
            mine = tensor.new_zeros(shape)
            mine.index_copy_(dim, index.to(tensor.device), tensor.detach())
            dense[name] = all_reduce(mine, group)
    return dense


def _split_attention(attention, group, sequence):
    """Each rank computes whole heads, from the normed tokens to its part of `out`'s sum."""
    ranks, rank = group.size(), group.rank()
    for name, n in zip(("n_head", "n_kv_head", "n_kv_head"), attention.heads, strict=True):
        check.divides("ranks", ranks, name, n, "take as many ranks, or heads, as divide")
    size = attention.qkv.out_features // sum(attention.heads)
    enter, leave = _ends(group, sequence)
    columns = share([n * size for n in attention.heads], rank, ranks)
    attention.qkv = ColumnLinear(attention.qkv, columns, enter)
    rows = share([attention.heads[0] * size], rank, ranks)
    attention.out = RowLinear(attention.out, rows, leave)
    if sequence and attention.out.bias is not None:
        _sum_gradients([attention.out.bias], group)
    attention.heads = tuple(n // ranks for n in attention.heads)


def _split_mlp(mlp, group, sequence):
    """Each rank computes a part of the hidden width; a gate is split like the values it gates."""
    ranks, rank, width = group.size(), group.rank(), mlp.down.in_features
    check.divides("ranks", ranks, "d_ff", width, "choose a d_ff that the ranks divide")
    enter, leave = _ends(group, sequence)
    columns = share([width] * (2 if mlp.gated else 1), rank, ranks)
    mlp.up = ColumnLinear(mlp.up, columns, enter)
    mlp.down = RowLinear(mlp.down, share([width], rank, ranks), leave)
    if sequence and mlp.down.bias is not None:
        _sum_gradients([mlp.down.bias], group)


def _split_vocabulary(gpt, group, sequence):
    """Each rank embeds and scores a part of the vocabulary."""
    ranks, size = group.size(), gpt.shape.vocab_size
    check.divides("ranks", ranks, "vocab_size", size, "pad the vocabulary with unused tokens")
    rows = share([size], group.rank(), ranks)
    gpt.embed = VocabularyEmbedding(gpt.embed, rows, group)
    gpt.head = ColumnLinear(gpt.head, rows, _ends(group, sequence)[0])
    if gpt.shape.tied:
        gpt.head.weight = gpt.embed.weight
    if sequence:
        gpt.blocks[0].register_forward_pre_hook(
            lambda _, inputs: (own_tokens(inputs[0], group), *inputs[1:])
        )


def _ends(group, sequence):
    """What stands before a column split and after a row split: the two conjugate operators."""
    before, after = copy_to_ranks, sum_over_ranks
    if sequence:
        before, after = gather_tokens, scatter_tokens
    return partial(before, group=group), partial(after, group=group)


def _sum_gradients(parameters, group):
    """Sums the gradients over ranks in the backward pass: each rank has seen its tokens alone."""
    for parameter in (p for p in parameters if p.requires_grad):
        parameter.register_hook(lambda gradient: all_reduce(gradient, group))


def _places(model):
    """{name: (dimension, indices)} of every parameter that is split."""
    return {
        f"{path}.{name}" if path else name: place
        for path, module in model.named_modules()
        for name, place in getattr(module, "places", {}).items()
    }
