"""Context parallelism: a sequence split over ranks, and attention while keys and values go round.

Each rank keeps the queries of its own tokens. Keys and values travel from rank to rank; what a
block of them adds is merged into a running softmax, so that no rank ever holds all scores of a
token. Backward, they travel once more, and their gradients travel with them.

Legend: p ranks in the group, B batch, H heads, T tokens in the whole sequence, Q numbers in a head.
Source: Liu 2023 (Ring attention with blockwise transformers); Dao 2022 (FlashAttention),
algorithms 1 and 4, for the running softmax and the backward pass that computes scores again.
"""

import torch
import torch.distributed as dist

from .. import check
from .ring import pass_on


def ring_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, group: dist.ProcessGroup
) -> torch.Tensor:
    """Causal attention of this rank's tokens to all tokens before them, wherever they are.

    Rank r holds the r-th of p equal parts of the sequence. Inside, numbers are of float32 or finer,
    since parts are merged again and again.

    Shapes: q, k, v each (B, H, T / p, Q) -> (B, H, T / p, Q)
    """
    if not q.shape == k.shape == v.shape:
        shapes = [tuple(t.shape) for t in (q, k, v)]
        remedy = "repeat grouped keys and values for every query head first"
        check.refuse("shapes of q, k, v", shapes, "equal", remedy)
    finer = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v)]
    with torch.autocast(q.device.type, enabled=False):
        return _RingAttention.apply(*finer, group).to(q.dtype)


class _RingAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, group):
        output, log_sum = torch.zeros_like(q), None
        for source, (k_block, v_block) in _round(torch.stack((k, v)), group):
            if source > group.rank():  # later tokens: hidden
                continue
            scores = _scores(q, k_block, hide=source == group.rank())
            log_block = scores.logsumexp(-1, keepdim=True)
            block = (scores - log_block).exp() @ v_block
            if log_sum is None:
                output, log_sum = block, log_block
            else:  # two softmaxes over different tokens, merged into one over both
                both = torch.logaddexp(log_sum, log_block)
                output = (log_sum - both).exp() * output + (log_block - both).exp() * block
                log_sum = both
        ctx.save_for_backward(q, k, v, output, log_sum)
        ctx.group = group
        return output

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, output, log_sum = ctx.saved_tensors
        group, scale = ctx.group, q.shape[-1] ** -0.5
        along = (gradient * output).sum(-1, keepdim=True)  # what the softmax's sum takes away
        q_gradient = torch.zeros_like(q)
        held = torch.stack((k, v, torch.zeros_like(k), torch.zeros_like(v)))
        for source, held in _round(held, group):  # noqa: B020  what the last rank left is needed
            if source > group.rank():
                continue
            k_block, v_block, k_gradient, v_gradient = held
            scores = _scores(q, k_block, hide=source == group.rank())
            shares = (scores - log_sum).exp()  # (B, H, T / p, T / p), computed again
            of_scores = scale * shares * (gradient @ v_block.mT - along)
            q_gradient += of_scores @ k_block
            k_gradient += of_scores.mT @ q  # in place: `held` takes the sums along
            v_gradient += shares.mT @ gradient
        return q_gradient, *_shift(held[2:], group), None  # the last step leads home


def _round(held, group):
    """(rank whose tokens they are, tensors), as they come by: first the own ones, then older ones.

    Each rank passes on what it holds when it asks for the next.
    """
    rank, ranks = group.rank(), group.size()
    for step in range(ranks):
        yield (rank - step) % ranks, held
        if step < ranks - 1:
            held = _shift(held, group)


def _shift(x, group):
    """What the rank before holds; the rank after gets `x`."""
    if group.size() == 1:
        return x
    arriving = torch.empty_like(x)
    pass_on(x.contiguous(), arriving, group)
    return arriving


def _scores(q, k, hide):
    """(B, H, T / p, T / p); with `hide`, the tokens are the queries' own, and later ones hidden."""
    scores = q.shape[-1] ** -0.5 * q @ k.mT
    if hide:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    return scores
