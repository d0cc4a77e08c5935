"""Expert parallelism: each rank holds some experts of a mixture, and tokens travel to theirs.

Every rank has its own tokens and the whole router. One all-to-all carries each token to the ranks
of the experts it has chosen, a second one carries their outputs back.

Legend: p ranks in the group, N tokens of this rank, C channels, E experts, k chosen by each token.
Source: Lepikhin 2020 (GShard), section 2; Fedus 2022 (Switch transformers), section 2.2.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from .. import check, models


@dataclass(frozen=True)
class Dispatch:
    """Which choices of this rank's tokens go where, sorted by expert."""

    kept: torch.Tensor  # numbers of the N k choices that go, sorted by expert
    sizes: torch.Tensor  # (E,) how many go to each expert
    dropped: int  # choices that found their expert full


class ExpertParallel(nn.Module):
    """A mixture whose experts lie on different ranks: (B, T, C) -> (B, T, C), this rank's tokens.

    `capacity` is the factor of `capacity_of`, None for no limit. What a full expert drops counts
    as an output of 0, so that the token goes by on the residual stream alone; `dropped` is the
    number of choices dropped in the last forward pass. Without drops the output is the mixture's.

    Raises: ValueError where the ranks do not divide the experts, or for a mixture that trains with
    a balance loss, which would have to be summed over ranks.
    Taught in: 09_model_parallel.
    """

    def __init__(
        self, mixture: models.Mixture, group: dist.ProcessGroup, capacity: float | None = None
    ):
        super().__init__()
        ranks, n_expert = group.size(), len(mixture.experts)
        remedy = "take as many ranks, or experts, as divide"
        check.divides("ranks", ranks, "n_expert", n_expert, remedy)
        if mixture.balance:
            raise ValueError(
                f"mixture.balance={mixture.balance}: it must be 0. Set it to 0, and add the"
                " balance loss of all ranks' tokens to the loss yourself."
            )
        if capacity is not None:
            check.number("capacity", capacity, remedy="1.25 leaves a quarter of slack")
        self.group, self.capacity, self.dropped = group, capacity, 0
        self.active = mixture.active
        self.router = copy.deepcopy(mixture.router)
        here = slice(group.rank() * n_expert // ranks, (group.rank() + 1) * n_expert // ranks)
        self.experts = copy.deepcopy(mixture.experts[here])

    route = models.Mixture.route

    def forward(self, x):
        tokens = x.flatten(0, -2)  # (B, T, C) -> (N, C)
        _, weights, chosen = self.route(tokens)
        plan = dispatch(chosen, self.router.out_features, self._limit(len(tokens)))
        self.dropped = plan.dropped
        going = tokens.index_select(0, plan.kept // self.active)
        y = self._compute(going, plan.sizes) * weights.flatten()[plan.kept, None].to(x.dtype)
        return torch.zeros_like(tokens).index_add(0, plan.kept // self.active, y).view(x.shape)

    def _limit(self, n_tokens):
        if self.capacity is None or n_tokens == 0:
            return None
        return capacity_of(n_tokens, self.router.out_features, self.active, self.capacity)

    def _compute(self, going, sizes):
        """The experts' outputs, in the order of `going`, which is sorted by expert."""
        ranks = self.group.size()
        arriving_sizes = torch.empty_like(sizes)  # by rank they come from, then by expert here
        dist.all_to_all_single(arriving_sizes, sizes, group=self.group)
        sent = sizes.view(ranks, -1).sum(1).tolist()
        arriving = arriving_sizes.view(ranks, -1)
        got = arriving.sum(1).tolist()
        here = exchange(going, got, sent, self.group)
        here_numbers = torch.arange(len(self.experts), device=going.device)
        expert = here_numbers.repeat(ranks).repeat_interleave(arriving_sizes)
        order = expert.argsort(stable=True)  # expert by expert, each with all ranks' tokens
        parts = here.index_select(0, order).split(arriving.sum(0).tolist())
        y = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        return exchange(y.index_select(0, order.argsort()), sent, got, self.group)


def capacity_of(n_tokens: int, n_expert: int, active: int, factor: float) -> int:
    """How many of a rank's choices one expert takes: `factor` times its even share, rounded up.

    Source: Fedus 2022, equation 3 (for k = 1).
    Taught in: 09_model_parallel.
    """
    share = check.integer("n_tokens", n_tokens) * active / check.integer("n_expert", n_expert)
    return math.ceil(round(check.number("factor", factor) * share, 9))  # 1.1 * 50 is 55.000...01


def dispatch(chosen: torch.Tensor, n_expert: int, limit: int | None = None) -> Dispatch:
    """Which choices go to the experts, where each takes at most `limit` of them.

    First choices go before second ones, and within those earlier tokens before later ones
    (Lepikhin 2020, algorithm 1).

    Shapes: chosen (N, k), the most probable expert first
    Taught in: 09_model_parallel.
    """
    n_tokens, active = chosen.shape
    numbers = torch.arange(n_tokens * active, device=chosen.device).view(n_tokens, active)
    waiting, numbers = chosen.T.flatten(), numbers.T.flatten()  # in the order of precedence
    order = waiting.argsort(stable=True)
    sizes = torch.bincount(waiting, minlength=n_expert)
    first = sizes.cumsum(0) - sizes  # where each expert's queue begins in `order`
    place = torch.arange(len(order), device=chosen.device) - first[waiting[order]]
    taken = order if limit is None else order[place < limit]
    kept_sizes = sizes if limit is None else sizes.clamp(max=limit)
    return Dispatch(numbers[taken], kept_sizes, len(order) - len(taken))


def exchange(
    x: torch.Tensor, got: list[int], sent: list[int], group: dist.ProcessGroup
) -> torch.Tensor:
    """The rows that other ranks have for this one: `sent` of `x` go to each, `got` come from each.

    Backward, every gradient goes back to where its row came from.
    Shapes: (sum(sent), C) -> (sum(got), C)
    Taught in: 09_model_parallel.
    """
    return _Exchange.apply(x, got, sent, group)


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, got, sent, group):
        ctx.got, ctx.sent, ctx.group = got, sent, group
        return _all_to_all(x, got, sent, group)

    @staticmethod
    def backward(ctx, gradient):
        return _all_to_all(gradient, ctx.sent, ctx.got, ctx.group), None, None, None


def _all_to_all(x, got, sent, group):
    y = x.new_empty(sum(got), *x.shape[1:])
    dist.all_to_all_single(y, x.contiguous(), got, sent, group=group)
    return y
