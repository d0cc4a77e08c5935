"""A mixture of experts in place of an MLP: parameters that most tokens never meet.

Legend: B batch, T tokens, C channels, N = B T tokens in all, E experts, k chosen by each token.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .. import count


class Mixture(nn.Module):
    """A router and its experts, each token through k of them: (B, T, C) -> (B, T, C).

    A chosen expert counts by its probability: among the k chosen for k > 1 (Shazeer 2017, equations
    1, 3 and 5, without the noise), among all for k = 1 (Fedus 2022, equation 2), where a share
    among the chosen would always be 1 and teach the router nothing. No expert has a capacity
    limit, so no token is dropped. `balance` is the weight of the balance loss in training.
    """

    def __init__(self, shape: count.Transformer | count.MixtureMLP, experts):
        super().__init__()
        self.active = shape.n_expert_active
        self.balance = 0.0
        self.router = nn.Linear(shape.d_model, shape.n_expert, bias=False)
        self.experts = nn.ModuleList(experts)

    def forward(self, x):
        tokens = x.flatten(0, -2)  # (B, T, C) -> (N, C)
        probabilities, weights, chosen = self.route(tokens)
        order = chosen.flatten().argsort(stable=True)  # the N k choices, expert by expert
        parts = tokens.index_select(0, order // self.active).split(self._sizes(chosen))
        y = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        y = y.index_select(0, order.argsort()).view(*chosen.shape, -1)  # (N k, C) -> (N, k, C)
        y = (weights.unsqueeze(-1).to(y.dtype) * y).sum(1).view(x.shape)
        if self.balance and torch.is_grad_enabled():
            y = _WithLoss.apply(y, self.balance * _balance_loss(probabilities, chosen))
        return y

    def route(self, tokens):
        """Probabilities of all experts, weights and numbers of the chosen ones.

        Shapes: (N, C) -> (N, E), (N, k), (N, k)
        """
        # the softmax in float32, whatever the rest is in (Fedus 2022, section 2.4)
        probabilities = self.router(tokens).softmax(-1, dtype=torch.float32)
        weights, chosen = probabilities.topk(self.active)
        if self.active > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        return probabilities, weights, chosen

    def _sizes(self, chosen):
        """How many choices fall on each expert; where nothing is computed, all on the first."""
        if chosen.is_meta:
            return [chosen.numel()] + [0] * (len(self.experts) - 1)
        return torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()


def _balance_loss(probabilities, chosen):
    """Switch's auxiliary loss of one layer: 1 where all experts get as much, E where one gets all.

    E times the sum of each expert's load times its mean probability. The load has no gradient,
    the probability has: the experts that get more than their share become less probable.

    Shapes: probabilities (N, E), chosen (N, k) -> ()
    Source: Fedus 2022 (Switch transformers), equations 4 to 6, for any k.
    """
    n_expert = probabilities.shape[-1]
    load = F.one_hot(chosen.flatten(), n_expert).float().mean(0)
    return n_expert * (load * probabilities.mean(0)).sum()


class _WithLoss(torch.autograd.Function):
    """`y` unchanged; the backward pass goes down `loss`, too, as if it were added to the model's.

    So a layer inside the network has a loss of its own, and nothing need be carried out of it.
    """

    @staticmethod
    def forward(ctx, y, loss):
        ctx.dtype = loss.dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient.new_ones((), dtype=ctx.dtype)
