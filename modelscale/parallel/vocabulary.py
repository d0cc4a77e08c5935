"""A vocabulary split over ranks: each embeds, and scores, only the tokens of its own part.

Legend: p ranks in the group, B batch, T tokens, C channels, V vocabulary.
Source: Shoeybi 2019 (Megatron-LM), section 3, on the embeddings.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from .operators import all_reduce, sum_over_ranks

IGNORED = -100  # a target that does not count, torch's own


class VocabularyEmbedding(nn.Module):
    """This rank's rows of an embedding; the vectors of other ranks' tokens come from them.

    Shapes: (B, T) -> (B, T, C)
    Taught in: 09_model_parallel.
    """

    def __init__(self, embedding: nn.Embedding, rows: torch.Tensor, group: dist.ProcessGroup):
        super().__init__()
        self.group = group
        self.places = {"weight": (0, rows)}
        whole = embedding.weight
        self.weight = nn.Parameter(whole.detach()[rows].clone(), whole.requires_grad)

    def forward(self, tokens):
        own, mine = _own_places(tokens, len(self.weight), self.group)
        x = F.embedding(own, self.weight) * mine.unsqueeze(-1)  # 0 for the tokens of others
        return sum_over_ranks(x, self.group)


def loss(logits: torch.Tensor, targets: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The mean cross-entropy of logits that no rank holds whole, in float32 or finer.

    Three numbers a token travel: the largest logit, the sum of exponentials below it, and the
    target's own logit. Targets of IGNORED do not count, as in torch.

    Shapes: logits (B, T, V / p), targets (B, T) -> ()
    Taught in: 09_model_parallel.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    largest = all_reduce(logits.amax(-1), group, dist.ReduceOp.MAX)  # only against overflow
    logits = logits - largest.unsqueeze(-1)
    total = sum_over_ranks(logits.exp().sum(-1), group)
    own, mine = _own_places(targets, logits.shape[-1], group)
    target = logits.gather(-1, own.unsqueeze(-1)).squeeze(-1).where(mine, 0.0)  # not -inf * 0
    target = sum_over_ranks(target, group)
    counted = targets != IGNORED
    return (total.log() - target).where(counted, 0.0).sum() / counted.sum()


def _own_places(tokens, n_own, group):
    """The rows of `tokens` in this rank's part, and which of them are in it at all."""
    outside = (tokens >= n_own * group.size()) | ((tokens < 0) & (tokens != IGNORED))
    if outside.any():
        raise ValueError(
            f"token {int(tokens[outside][0])}: there are {n_own * group.size()}, numbered from 0. "
            "Use a larger vocabulary, or check the text."
        )
    own = tokens - group.rank() * n_own
    mine = (own >= 0) & (own < n_own)
    return own.clamp(0, n_own - 1), mine
