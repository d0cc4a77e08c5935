"""Expert parallelism: each rank holds some experts of a mixture, and tokens travel to theirs.

Every rank has its own tokens and the whole router. One all-to-all carries each token to the ranks
of the experts it has chosen, a second one carries their outputs back.

Legend: p ranks in the group, N tokens of this rank, C channels, E experts, k chosen by each token.
Source: Lepikhin 2020 (GShard), section 2; Fedus 2022 (Switch transformers), section 2.2.
"""

import copy
import math

import torch
import torch.distributed as dist
from torch import nn

from .. import check, models


class ExpertParallel(nn.Module):
    """A mixture whose experts lie on different ranks: (B, T, C) -> (B, T, C), this rank's tokens.

    An expert takes at most `capacity` times its even share of a rank's choices, rounded up; None is
    no limit. What a full expert drops counts as an output of 0, so that the token goes by on the
    residual stream alone; `dropped` is the number of choices dropped in the last forward pass.
    Without drops the output is the mixture's.

    Source: Fedus 2022, equation 3 (for k = 1), for the capacity.
    """

    def __init__(self, mixture: models.Mixture, group, capacity: float | None = None):
        super().__init__()
        ranks, n_expert = group.size(), len(mixture.experts)
        remedy = "take as many ranks, or experts, as divide"
        check.divides("ranks", ranks, "n_expert", n_expert, remedy)
        if mixture.balance:
            remedy = "add the balance loss of all ranks' tokens to the loss yourself"
            check.refuse("mixture.balance", mixture.balance, "0", remedy)
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
        limit, n_expert = chosen.numel(), self.router.out_features
        if self.capacity is not None:  # rounded, as 1.1 * 50 is 55.000...01
            limit = math.ceil(round(self.capacity * limit / n_expert, 9))
        kept, sizes = _dispatch(chosen, n_expert, limit)
        self.dropped = chosen.numel() - len(kept)
        going = tokens.index_select(0, kept // self.active)
        y = self._compute(going, sizes) * weights.flatten()[kept, None].to(x.dtype)
        return torch.zeros_like(tokens).index_add(0, kept // self.active, y).view(x.shape)

    def _compute(self, going, sizes):
        """The experts' outputs, in the order of `going`, which is sorted by expert."""
        ranks = self.group.size()
        leaving = sizes.view(ranks, -1)
        arriving = torch.empty_like(leaving)  # by rank they come from, then by expert here
        dist.all_to_all_single(arriving, leaving, group=self.group)
        sent, got = leaving.sum(1).tolist(), arriving.sum(1).tolist()
        here = _Exchange.apply(going, got, sent, self.group)
        numbers = torch.arange(len(self.experts), device=going.device).repeat(ranks)
        expert = numbers.repeat_interleave(arriving.flatten())
        order = expert.argsort(stable=True)  # expert by expert, each with all ranks' tokens
        parts = here.index_select(0, order).split(arriving.sum(0).tolist())
        y = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        return _Exchange.apply(y.index_select(0, order.argsort()), sent, got, self.group)


def _dispatch(chosen, n_expert, limit):
    """(numbers of the choices that go, sorted by expert; how many go to each expert).

    First choices go before second ones, and within those earlier tokens before later ones
    (Lepikhin 2020, algorithm 1).
    Shapes: chosen (N, k), the most probable expert first -> (at most N k,), (E,)
    """
    numbers = torch.arange(chosen.numel(), device=chosen.device).view_as(chosen).T.flatten()
    waiting = chosen.T.flatten()  # both in the order of precedence
    order = waiting.argsort(stable=True)
    sizes = torch.bincount(waiting, minlength=n_expert)
    first = sizes.cumsum(0) - sizes  # where each expert's queue begins in `order`
    place = torch.arange(len(order), device=chosen.device) - first[waiting[order]]
    return numbers[order[place < limit]], sizes.clamp(max=limit)


class _Exchange(torch.autograd.Function):
    """The rows that other ranks have for this one: `sent` of `x` go to each, `got` come from each.

    Shapes: (sum(sent), C) -> (sum(got), C)
    """

    @staticmethod
    def forward(ctx, x, got, sent, group):
        ctx.back = sent, got, group
        y = x.new_empty(sum(got), *x.shape[1:])
        dist.all_to_all_single(y, x.contiguous(), got, sent, group=group)
        return y

    @staticmethod
    def backward(ctx, gradient):
        return _Exchange.apply(gradient, *ctx.back), None, None, None
