"""Collectives that gradients can go through: what one does forward, its partner does backward.

`copy_to_ranks` and `sum_over_ranks` are partners, `gather_tokens` and `scatter_tokens` are, and
`own_tokens` is undone by an all-gather. Every rank must call the same ones in the same order.

Legend: p ranks in the group, B batch, T tokens, C channels.
Source: Shoeybi 2019 (Megatron-LM), section 3, the first two (f and g there); Korthikanti 2022,
section 4.2.2, the next two (g and its conjugate there).
"""

from functools import partial

import torch
import torch.distributed as dist

from .. import check

TOKENS = 1  # the dimension of tokens in (B, T, C)


def copy_to_ranks(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """`x` itself; backward, the sum of all ranks' gradients.

    It stands where ranks that hold the same `x` go on to compute different things from it.
    """
    return _Pair.apply(x, lambda x: x.view_as(x), partial(all_reduce, group=group))


def sum_over_ranks(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The sum of all ranks' `x`; backward, the gradient itself.

    It stands where ranks that hold different parts of a sum go on to compute the same from it.
    """
    return _Pair.apply(x, partial(all_reduce, group=group), lambda gradient: gradient)


def gather_tokens(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """All ranks' tokens, in the order of ranks; backward, the sum of the gradients of its own ones.

    Shapes: (B, T / p, C) -> (B, T, C)
    """
    return _Pair.apply(x, partial(_all_gather, group=group), partial(_reduce_scatter, group=group))


def scatter_tokens(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """This rank's tokens of the sum of all ranks' `x`; backward, all ranks' gradients side by side.

    Shapes: (B, T, C) -> (B, T / p, C)
    """
    return _Pair.apply(x, partial(_reduce_scatter, group=group), partial(_all_gather, group=group))


def own_tokens(x: torch.Tensor, group: dist.ProcessGroup, dim: int = TOKENS) -> torch.Tensor:
    """This rank's part of an `x` that all hold, cut along `dim`, as a copy; backward, all ranks'
    gradients side by side.

    Shapes: (B, T, C) -> (B, T / p, C)
    """
    back = partial(_all_gather, group=group, dim=dim)
    return _Pair.apply(x, lambda x: _parts(x, group, dim)[group.rank()].clone(), back)


def all_reduce(x: torch.Tensor, group: dist.ProcessGroup, op=dist.ReduceOp.SUM) -> torch.Tensor:
    """The sum of all ranks' `x`, or what else `op` says, as a new tensor; not for autograd."""
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, op, group=group)
    return total


class _Pair(torch.autograd.Function):
    """`forward(x)`, whose gradient is `back(gradient)`."""

    @staticmethod
    def forward(ctx, x, forward, back):
        ctx.back = back
        return forward(x)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.back(gradient), None, None


def _all_gather(x, group, dim=TOKENS):
    """All ranks' `x` side by side along `dim`."""
    parts = x.new_empty(group.size() * len(x), *x.shape[1:])
    dist.all_gather_single(parts, x.contiguous(), group=group)
    return torch.cat(parts.chunk(group.size()), dim)


def _reduce_scatter(x, group):
    """This rank's tokens of the sum of all ranks' `x`: (B, T, C) -> (B, T / p, C).

    Each rank sends every other one its part, and adds up what it gets. gloo's own reduce-scatter
    sums everything everywhere first, and so sends twice as much.
    """
    mine = torch.stack(_parts(x, group, TOKENS))  # (p, B, T / p, C)
    theirs = torch.empty_like(mine)
    dist.all_to_all_single(theirs, mine, group=group)
    return theirs.sum(0, dtype=x.dtype)


def _parts(x, group, dim):
    remedy = "cut or pad the sequences to a multiple of the ranks"
    check.divides("ranks", group.size(), "tokens", x.shape[dim], remedy)
    return x.chunk(group.size(), dim)
