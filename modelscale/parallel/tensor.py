"""Tensor parallelism: every matrix of a GPT split over ranks, which compute each layer together.

A linear map y = x A is split by columns of A where each rank can go on alone with its part of y,
then by rows of the next matrix, whose partial results add up. torch keeps A as its transpose, so
columns of A are rows of `weight`.

Legend: p ranks in the group, B batch, T tokens, C channels, H heads, F hidden width of the MLP,
V vocabulary.
Source: Shoeybi 2019 (Megatron-LM), section 3; Korthikanti 2022, section 4.2.2, for `sequence`.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from .. import check, models
from .collectives import (
    all_reduce,
    copy_to_ranks,
    gather_tokens,
    own_tokens,
    scatter_tokens,
    sum_over_ranks,
)

IGNORED = -100  # a target that does not count, torch's own


def split(model: nn.Module, group: dist.ProcessGroup, sequence: bool = False) -> nn.Module:
    """This rank's share of a GPT, or of its Block, Attention or FeedForward; `model` stays.

    A GPT then returns the logits of this rank's part of the vocabulary: (B, T) -> (B, T, V / p),
    for `vocabulary_loss`. With `sequence`, each rank norms and adds only its own tokens: a part of
    a GPT takes and returns them, (B, T / p, C), a GPT cuts them by itself.
    """
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(module, models.Mixture):
            remedy = "split experts over ranks with parallel.expert instead"
            check.refuse("model", "one with a Mixture", "of dense MLPs", remedy)
        if isinstance(module, models.Attention):
            _split_attention(module, group, sequence)
        elif isinstance(module, models.FeedForward):
            _split_mlp(module, group, sequence)
        elif isinstance(module, models.GPT):
            _split_vocabulary(module, group, sequence)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and sequence:
            _sum_gradients(module.parameters(), group)
    return model


def unshard(model: nn.Module, tensors: dict, group: dist.ProcessGroup) -> dict[str, torch.Tensor]:
    """The dense model's tensors (weights, or gradients, by name), of the shards that ranks hold.

    Every rank gets them all, so this is for checkpoints and checks, not for large models.
    """
    dense = {}
    for name, tensor in tensors.items():
        dense[name] = tensor.detach().clone()
        path, _, own_name = name.rpartition(".")
        shards = getattr(model.get_submodule(path), "shards", {})
        if own_name in shards:
            dim, index = shards[own_name]
            shape = list(tensor.shape)
            shape[dim] *= group.size()
            mine = tensor.new_zeros(shape)
            mine.index_copy_(dim, index.to(tensor.device), tensor.detach())
            dense[name] = all_reduce(mine, group)
    return dense


def vocabulary_loss(
    logits: torch.Tensor, targets: torch.Tensor, group: dist.ProcessGroup
) -> torch.Tensor:
    """The mean cross-entropy of logits that no rank holds whole, in float32 or finer.

    Three numbers a token travel: the largest logit, the sum of exponentials below it, and the
    target's own logit. Targets of IGNORED do not count, as in torch.

    Shapes: logits (B, T, V / p), targets (B, T) -> ()
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    largest = all_reduce(logits.amax(-1), group, dist.ReduceOp.MAX)  # only against overflow
    logits = logits - largest.unsqueeze(-1)
    total = sum_over_ranks(logits.exp().sum(-1), group)
    own, mine = _own_rows(targets, logits.shape[-1], group)
    target = logits.gather(-1, own.unsqueeze(-1)).squeeze(-1).where(mine, 0.0)  # not -inf * 0
    target = sum_over_ranks(target, group)
    counted = targets != IGNORED
    return (total.log() - target).where(counted, 0.0).sum() / counted.sum()


class _ColumnLinear(nn.Module):
    """This rank's columns of a linear map: `enter`, then (B, T, C) -> (B, T, F / p)."""

    def __init__(self, linear: nn.Linear, columns: torch.Tensor, enter: Callable):
        super().__init__()
        self.enter = enter
        self.shards = {"weight": (0, columns), "bias": (0, columns)}
        self.weight = _shard(linear.weight, columns)
        self.bias = None if linear.bias is None else _shard(linear.bias, columns)

    def forward(self, x):
        return F.linear(self.enter(x), self.weight, self.bias)


class _RowLinear(nn.Module):
    """This rank's rows of a linear map: (B, T, F / p) -> (B, T, C), then `leave`, then the bias.

    The bias is whole on every rank, and is added once: after the sum.
    """

    def __init__(self, linear: nn.Linear, rows: torch.Tensor, leave: Callable):
        super().__init__()
        self.leave = leave
        self.shards = {"weight": (1, rows)}
        self.weight = _shard(linear.weight, (slice(None), rows))
        self.bias = None if linear.bias is None else _shard(linear.bias, slice(None))

    def forward(self, x):
        y = self.leave(F.linear(x, self.weight))
        return y if self.bias is None else y + self.bias


class _VocabularyEmbedding(nn.Module):
    """This rank's rows of an embedding; the vectors of other ranks' tokens come from them.

    Shapes: (B, T) -> (B, T, C)
    """

    def __init__(self, embedding: nn.Embedding, rows: torch.Tensor, group: dist.ProcessGroup):
        super().__init__()
        self.group = group
        self.shards = {"weight": (0, rows)}
        self.weight = _shard(embedding.weight, rows)

    def forward(self, tokens):
        own, mine = _own_rows(tokens, len(self.weight), self.group)
        x = F.embedding(own, self.weight) * mine.unsqueeze(-1)  # 0 for the tokens of others
        return sum_over_ranks(x, self.group)


def _split_attention(attention, group, sequence):
    """Each rank computes whole heads, from the normed tokens to its part of `out`'s sum."""
    ranks = group.size()
    for name, n in zip(("n_head", "n_kv_head", "n_kv_head"), attention.heads, strict=True):
        check.divides("ranks", ranks, name, n, "take as many ranks, or heads, as divide")
    size = attention.qkv.out_features // sum(attention.heads)
    columns = [n * size for n in attention.heads]
    _split_pair(attention, "qkv", "out", columns, group, sequence)
    attention.heads = tuple(n // ranks for n in attention.heads)


def _split_mlp(mlp, group, sequence):
    """Each rank computes a part of the hidden width; a gate is split like the values it gates."""
    width = mlp.down.in_features
    check.divides("ranks", group.size(), "d_ff", width, "choose a d_ff that the ranks divide")
    _split_pair(mlp, "up", "down", [width] * (2 if mlp.gated else 1), group, sequence)


def _split_pair(module, first, second, runs, group, sequence):
    """Split the linear map `first` by columns, in runs, and `second` by as many rows as the first
    run has.
    """
    enter, leave = _ends(group, sequence)
    columns, rows = _own_indices(runs, group), _own_indices(runs[:1], group)
    setattr(module, first, _ColumnLinear(getattr(module, first), columns, enter))
    setattr(module, second, _RowLinear(getattr(module, second), rows, leave))
    if sequence:
        _sum_gradients([getattr(module, second).bias], group)


def _split_vocabulary(gpt, group, sequence):
    """Each rank embeds and scores a part of the vocabulary."""
    size = gpt.shape.vocab_size
    check.divides("ranks", group.size(), "vocab_size", size, "pad it with unused tokens")
    rows = _own_indices([size], group)
    gpt.embed = _VocabularyEmbedding(gpt.embed, rows, group)
    gpt.head = _ColumnLinear(gpt.head, rows, _ends(group, sequence)[0])
    if gpt.shape.tied:
        gpt.head.weight = gpt.embed.weight
    if sequence:
        gpt.blocks[0].register_forward_pre_hook(
            lambda _, inputs: (own_tokens(inputs[0], group), *inputs[1:])
        )


def _ends(group, sequence):
    """What stands before a column split and after a row split: the two conjugate operators."""
    pair = (gather_tokens, scatter_tokens) if sequence else (copy_to_ranks, sum_over_ranks)
    return [partial(end, group=group) for end in pair]


def _own_indices(runs, group):
    """This rank's share of each of several runs that lie end to end.

    The queries, keys and values of a fused map are three runs, of which each rank needs its heads.
    """
    indices = torch.arange(sum(runs)).split(runs)
    return torch.cat([run.chunk(group.size())[group.rank()] for run in indices])


def _own_rows(tokens, n_own, group):
    """The rows of `tokens` in this rank's vocabulary, and which of them are in it at all."""
    outside = (tokens >= n_own * group.size()) | ((tokens < 0) & (tokens != IGNORED))
    if outside.any():
        allowed = f"one of {n_own * group.size()}, numbered from 0"
        check.refuse("token", int(tokens[outside][0]), allowed, "use a larger vocabulary")
    own = tokens - group.rank() * n_own
    mine = (own >= 0) & (own < n_own)
    return own.clamp(0, n_own - 1), mine


def _shard(parameter, index):
    """A copy of a part of `parameter`, frozen where that is."""
    return nn.Parameter(parameter.detach()[index].clone(), parameter.requires_grad)


def _sum_gradients(parameters, group):
    """Sum the gradients over ranks in the backward pass: each rank has seen its tokens alone."""
    for parameter in (p for p in parameters if p is not None and p.requires_grad):
        parameter.register_hook(lambda gradient: all_reduce(gradient, group))
