"""A small GPT.

Legend: B batch, T tokens, C channels (`d_model`), H query heads, K key and value heads, Q numbers
in a head, F hidden width of the MLP, V vocabulary.
"""

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .. import check, count
from .cache import Cache
from .experts import Mixture

# The whole block is computed again, as the published counts have it: torch would leave out its last
# product, which no gradient asks for. There is no dropout, so no random state to keep.
AGAIN = {"use_reentrant": False, "preserve_rng_state": False, "early_stop": False}
ROTARY_BASE = 10_000.0  # the slowest pair turns once in about 2 pi x this many tokens (Su 2021)


class GPT(nn.Module):
    """A decoder-only transformer, norms before each half block: (B, T) -> (B, T, V).

    Above one expert, each MLP is a `Mixture`. With a `Cache`, `tokens` continue those in it.

    Source: Radford 2019 (GPT-2), with its scaling of residual layers; 0.02 as in its released code,
    here for positions, too (there 0.01).
    """

    def __init__(self, shape: count.Transformer):
        super().__init__()
        self.shape = shape
        self.recompute = "none"
        self.embed = nn.Embedding(shape.vocab_size, shape.d_model)
        learned = shape.positions == "learned"
        self.position = nn.Embedding(shape.context, shape.d_model) if learned else None
        rotary = _rotary_table(shape) if shape.positions == "rotary" else None
        self.register_buffer("rotary", rotary, persistent=False)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.norm = _norm(shape)
        self.head = nn.Linear(shape.d_model, shape.vocab_size, bias=False)
        if shape.tied:
            self.head.weight = self.embed.weight
        self._init_weights()

    def forward(self, tokens: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        start = 0 if cache is None else cache.used
        end = start + tokens.shape[1]
        remedy = "cut them into shorter sequences, or build with a longer context"
        check.integer("tokens in a sequence", end, high=self.shape.context, remedy=remedy)
        x = self.embed(tokens)  # (B, T) -> (B, T, C)
        if self.position is not None:
            x = x + self.position.weight[start:end]
        rotary = None if self.rotary is None else self.rotary[:, start:end]
        recomputes = self.recompute == "full" and torch.is_grad_enabled()
        if recomputes and cache is not None:
            remedy = "the second pass would fill it again; generate under torch.no_grad()"
            check.refuse("recompute", "full", "'none' with a cache", remedy)
        for i, block in enumerate(self.blocks):
            if recomputes:
                x = checkpoint(block, x, rotary, **AGAIN)
            else:
                x = block(x, rotary, cache and partial(cache.extend, i))
        # In mixed precision on a CPU logits are in float32, 2 % of the work: bfloat16 has not three
        # digits (4 layers of 256: losses after 400 steps up to 0.014 nats higher, up to 0.004 so).
        with torch.autocast("cpu", enabled=False):
            return self.head(self.norm(x))  # (B, T, C) -> (B, T, V)

    def for_training(self, recompute: str = "none") -> "GPT":
        """This network; "full" keeps of each block its input alone until the backward pass.

        That pass computes the rest again.
        Source: Chen 2016 (Training deep nets with sublinear memory cost), section 4.
        """
        self.recompute = check.one_of("recompute", recompute, ("none", "full"))
        return self

    def _init_weights(self):
        # Each layer adds two outputs to the residual stream: scaled, its variance stays the same.
        residual_std = 0.02 / math.sqrt(2 * self.shape.n_layer)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif weight.dim() == 2:
                to_residual = name.endswith(("attention.out.weight", ".down.weight"))
                nn.init.normal_(weight, std=residual_std if to_residual else 0.02)


class Block(nn.Module):
    """Attention, then the MLP, each added to the residual stream: (B, T, C) -> (B, T, C)."""

    def __init__(self, shape: count.Transformer):
        super().__init__()
        self.norm1 = _norm(shape)
        self.attention = Attention(shape)
        self.norm2 = _norm(shape)
        mlps = [FeedForward(shape) for _ in range(shape.n_expert)]
        self.mlp = Mixture(shape, mlps) if shape.n_expert > 1 else mlps[0]

    def forward(self, x, rotary=None, extend=None):
        x = x + self.attention(self.norm1(x), rotary, extend)
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Causal attention with grouped queries: (B, T, C) -> (B, T, C)."""

    def __init__(self, shape: count.Transformer):
        super().__init__()
        self.scale = shape.head_size**-0.5  # of q . k; muP has another (modelscale.tuning)
        self.heads = (shape.n_head, shape.kv_heads, shape.kv_heads)  # of queries, keys, values
        width_in = shape.attention_width + 2 * shape.kv_width
        self.qkv = nn.Linear(shape.d_model, width_in, shape.has_qkv_bias)
        self.out = nn.Linear(shape.attention_width, shape.d_model, shape.bias)

    def forward(self, x, rotary=None, extend=None):
        q, k, v = self._heads(x, rotary)
        if extend:  # of a cache, from which come the keys and values of earlier tokens
            k, v = extend(k, v)
        new, total = q.shape[2], k.shape[2]
        seen = torch.ones(new, total, dtype=torch.bool, device=q.device).tril(total - new)
        mask = None if new in (1, total) else seen
        y = _attend(q, k, v, mask, is_causal=new == total, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, H, T, Q) -> (B, T, C)

    def logits(self, x, rotary=None):
        """What the softmax is taken of, later tokens not yet hidden: (B, T, C) -> (B, H, T, T)."""
        q, k, _ = self._heads(x, rotary)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)  # one for each query head
        return self.scale * q @ k.mT

    def _heads(self, x, rotary):
        """Queries (B, H, T, Q), keys and values (B, K, T, Q)."""
        n_q, n_k, n_v = self.heads
        qkv = self.qkv(x).unflatten(2, (n_q + n_k + n_v, -1))  # (B, T, C) -> (B, T, H+2K, Q)
        if rotary is None:
            parts = qkv.split(self.heads, dim=2)
        else:
            qk, v = qkv.split((n_q + n_k, n_v), dim=2)
            parts = *_rotate(qk, rotary).split((n_q, n_k), dim=2), v
        return [part.transpose(1, 2) for part in parts]


class FeedForward(nn.Module):
    """GELU between two linear maps, or SwiGLU with a gate beside it: (B, T, C) -> (B, T, C)."""

    def __init__(self, shape: count.Transformer):
        super().__init__()
        self.gated = shape.gated_mlp
        width = 2 * shape.ff_width if self.gated else shape.ff_width  # the gate rides along
        self.up = nn.Linear(shape.d_model, width, shape.bias)
        self.down = nn.Linear(shape.ff_width, shape.d_model, shape.bias)

    def forward(self, x):
        if not self.gated:
            return self.down(F.gelu(self.up(x)))  # (B, T, C) -> (B, T, F) -> (B, T, C)
        gate, value = self.up(x).chunk(2, dim=-1)  # (B, T, C) -> twice (B, T, F)
        return self.down(F.silu(gate) * value)


def _attend(q, k, v, mask=None, **options):
    """torch's fused attention, keys and values shared by groups of query heads where fewer.

    In mixed precision on a CPU it computes in float32: there torch's backward pass in bfloat16
    takes three times as long (12 sequences of 64 tokens, 4 heads of 64: 15.7 ms against 4.1).

    Shapes: (B, H, T, Q), twice (B, K, S, Q) -> (B, H, T, Q)
    """
    options["enable_gqa"] = q.shape[1] != k.shape[1]
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            y = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask, **options)
        return y.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, mask, **options)


def _recomputed(block, x, rotary):
    """`block(x, rotary)`, of which only `x` is kept for the backward pass."""
    # The whole block again, as the published counts have it: torch would leave out its last
    # product, which no gradient asks for. There is no dropout, so no random state to keep.
    return checkpoint(
        block, x, rotary, use_reentrant=False, preserve_rng_state=False, early_stop=False
    )


def _rotary_table(shape):
    """Cosines and sines of each position's angles: (2, context, 1, Q/2).

    Source: Su 2021 (RoFormer), equation 15.
    """
    half = shape.head_size // 2
    turns = ROTARY_BASE ** (-torch.arange(half) / half)  # radians a token, one for each pair
    angles = torch.outer(torch.arange(shape.context), turns)
    return torch.stack((angles.cos(), angles.sin())).unsqueeze(2)


def _rotate(x, rotary):
    """Queries or keys turned by their position's angles: (B, T, H, Q) -> (B, T, H, Q).

    Source: Su 2021 (RoFormer), equation 34; pairs are numbers i and i + Q/2.
    """
    cos, sin = rotary  # each (T, 1, Q/2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _norm(shape):
    if shape.norm == "rms":
        return nn.RMSNorm(shape.d_model)
    return nn.LayerNorm(shape.d_model, bias=shape.bias)
