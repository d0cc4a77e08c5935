"""Collectives that gradients can go through: what one does forward, its partner does backward.

`copy_to_ranks` and `sum_over_ranks` are partners, `gather_tokens` and `scatter_tokens` are, and
`own_tokens` is undone by an all-gather. Every rank must call the same ones in the same order.

Legend: p ranks in the group, B batch, T tokens, C channels.
Source: Shoeybi 2019 (Megatron-LM), section 3, the first two (f and g there); Korthikanti 2022,
section 4.2.2, the next two (g and its conjugate there).
"""

import torch
import torch.distributed as dist

from .. import check

TOKENS = 1  # the dimension of tokens in (B, T, C)


def copy_to_ranks(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """`x` itself; backward, the sum of all ranks' gradients.

    It stands where ranks that hold the same `x` go on to compute different things from it.
    Taught in: 09_model_parallel.
    """
    return _Copy.apply(x, group)


def sum_over_ranks(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The sum of all ranks' `x`; backward, the gradient itself.

    It stands where ranks that hold different parts of a sum go on to compute the same from it.
    Taught in: 09_model_parallel.
    """
    return _Sum.apply(x, group)


def gather_tokens(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """All ranks' tokens, in the order of ranks; backward, the sum of the gradients of its own ones.

    Shapes: (B, T / p, C) -> (B, T, C)
    Taught in: 09_model_parallel.
    """
    return _Gather.apply(x, group)


def scatter_tokens(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """This rank's tokens of the sum of all ranks' `x`; backward, all ranks' gradients side by side.

    Shapes: (B, T, C) -> (B, T / p, C)
    Raises: ValueError where the ranks do not divide the tokens.
    Taught in: 09_model_parallel.
    """
    return _Scatter.apply(x, group)


def own_tokens(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """This rank's tokens of an `x` that all hold; backward, all ranks' gradients side by side.

    Shapes: (B, T, C) -> (B, T / p, C)
    Raises: ValueError where the ranks do not divide the tokens.
    Taught in: 09_model_parallel.
    """
    return _Own.apply(x, group)


def all_reduce(x: torch.Tensor, group: dist.ProcessGroup, op=dist.ReduceOp.SUM) -> torch.Tensor:
    """The sum of all ranks' `x`, or what else `op` says, as a new tensor; not for autograd."""
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, op, group=group)
    return total


def all_gather(x: torch.Tensor, group: dist.ProcessGroup, dim: int = TOKENS) -> torch.Tensor:
    """All ranks' `x` side by side along `dim`; not for autograd."""
    parts = x.new_empty(group.size() * len(x), *x.shape[1:])
    dist.all_gather_single(parts, x.contiguous(), group=group)
    return torch.cat(parts.chunk(group.size()), dim)


def reduce_scatter(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """This rank's tokens of the sum of all ranks' `x`; not for autograd.

    Each rank sends every other one its part, and adds up what it gets. gloo's own reduce-scatter
    sums everything everywhere first, and so sends twice as much.

    Shapes: (B, T, C) -> (B, T / p, C)
    """
    mine = torch.stack(_parts(x, group))  # (p, B, T / p, C)
    theirs = torch.empty_like(mine)
    dist.all_to_all_single(theirs, mine, group=group)
    return theirs.sum(0, dtype=x.dtype)


def _parts(x, group):
    remedy = "cut or pad the sequences to a multiple of the ranks"
    check.divides("ranks", group.size(), "tokens", x.shape[TOKENS], remedy)
    return x.chunk(group.size(), TOKENS)


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return all_reduce(gradient, ctx.group), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        return all_reduce(x, group)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return all_gather(x, group)

    @staticmethod
    def backward(ctx, gradient):
        return reduce_scatter(gradient, ctx.group), None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return reduce_scatter(x, group)

    @staticmethod
    def backward(ctx, gradient):
        return all_gather(gradient, ctx.group), None


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return _parts(x, group)[group.rank()].contiguous()

    @staticmethod
    def backward(ctx, gradient):
        return all_gather(gradient, ctx.group), None
