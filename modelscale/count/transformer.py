"""Decoder-only transformers: their parameters and FLOPs.

Legend: L layers, h width (`d_model`), H query heads of Q numbers, T context, V vocabulary.
"""

from dataclasses import dataclass

from .. import check

SIZES = (
    *("n_layer", "d_model", "n_head", "vocab_size", "context"),
    *("n_expert", "n_expert_active"),
)
OPTIONAL_SIZES = ("n_kv_head", "head_dim", "d_ff")
RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True)
class Transformer:
    """The shape of a decoder-only transformer, dense or a mixture of experts.

    A field left at None follows the others, also through `dataclasses.replace`; `kv_heads`,
    `head_size` and `ff_width` are the numbers in force.
    """

    n_layer: int  # blocks, each attention and an MLP, a norm before either
    d_model: int  # width of the residual stream
    n_head: int  # query heads
    vocab_size: int  # different tokens
    context: int  # tokens in the longest sequence
    n_kv_head: int | None = None  # key and value heads; None: as many as query heads
    head_dim: int | None = None  # numbers a head has; None: d_model / n_head
    d_ff: int | None = None  # hidden width of the MLP; None: 4 d_model, gated or not
    gated_mlp: bool = False  # SwiGLU, three matrices, instead of GELU, two
    bias: bool = True  # on linear maps and layer norms; never on head, RMS norms, routers
    qkv_bias: bool | None = None  # on queries, keys and values; None: as `bias`
    positions: str = "learned"  # or "rotary", "none"
    norm: str = "layer"  # or "rms"
    tied: bool = True  # the output head is the token embedding
    n_expert: int = 1  # MLPs a layer; above 1, a router chooses among them
    n_expert_active: int = 1  # MLPs that a token goes through

    def __post_init__(self):
        given = [name for name in OPTIONAL_SIZES if getattr(self, name) is not None]
        check.fields(self, *SIZES, *given)
        check.integer("n_expert_active", self.n_expert_active, high=self.n_expert)
        check.one_of("positions", self.positions, ("learned", "rotary", "none"))
        check.one_of("norm", self.norm, ("layer", "rms"))
        for name in ("gated_mlp", "bias", "tied"):
            check.one_of(name, getattr(self, name), (True, False))
        check.one_of("qkv_bias", self.qkv_bias, (True, False, None))
        if self.head_dim is None:
            check.divides("n_head", self.n_head, "d_model", self.d_model, "or give the head_dim")
        check.divides("n_kv_head", self.kv_heads, "n_head", self.n_head)
        if self.positions == "rotary" and self.head_size % 2:
            check.refuse("head_dim", self.head_size, "even, as rotary positions turn pairs")

    @property
    def kv_heads(self) -> int:
        """Heads that have keys and values of their own."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def head_size(self) -> int:
        """Numbers in a query, a key or a value of one head."""
        return self.d_model // self.n_head if self.head_dim is None else self.head_dim

    @property
    def ff_width(self) -> int:
        """Hidden width of an MLP."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    @property
    def attention_width(self) -> int:
        """Numbers in the queries of all heads of a token, H Q."""
        return self.n_head * self.head_size

    @property
    def kv_width(self) -> int:
        """Numbers in the keys of all heads of a token; the values have as many."""
        return self.kv_heads * self.head_size

    @property
    def has_qkv_bias(self) -> bool:
        """Whether queries, keys and values have biases."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    @property
    def params(self) -> int:
        """All parameters, every expert included, a tied embedding counted once."""
        return self._params(self.n_expert)

    @property
    def params_active(self) -> int:
        """The parameters that a token meets: the router and the active experts, not the others."""
        return self._params(self.n_expert_active)

    @property
    def params_non_embedding(self) -> int:
        """`params` without token embedding, learned positions and untied output head."""
        return self.params - self._embedding_params()

    def train_flops_per_token(self, context: int | None = None) -> int:
        """FLOPs of training on a token: 6 `params_active` + 12 L H Q T, the embeddings included.

        `context` (T) defaults to the longest.
        Source: Chowdhery 2022 (PaLM), appendix B.
        """
        tokens = self.context if context is None else check.integer("context", context)
        return 6 * self.params_active + 12 * self.n_layer * self.attention_width * tokens

    def matmul_flops(
        self, tokens: int, context: int, training: bool = False, recompute: str = "none"
    ) -> int:
        """FLOPs of every matrix product for `tokens` tokens in sequences of `context`.

        Attention counts as whole squares, as in `torch.utils.flop_counter`. `training` adds to the
        forward pass twice as much for the gradients; `recompute` repeats in it nothing, the
        attention products ("selective") or all of the layers ("full"), never the logits.
        Source: Narayanan 2021, appendix: 96 L h^2 + 16 L h T + 6 h V a token with "full".
        """
        n, length = check.integer("tokens", tokens), check.integer("context", context)
        check.one_of("recompute", recompute, RECOMPUTE)
        attention = 4 * n * length * self.n_layer * self.attention_width
        layers = 2 * n * self.n_layer * self._layer_params(self.n_expert_active, 0, 0) + attention
        forward = layers + 2 * n * self.d_model * self.vocab_size
        if not training and recompute != "none":
            check.refuse("recompute", recompute, "'none' without training", "set training=True")
        repeated = {"none": 0, "selective": attention, "full": layers}[recompute]
        return 3 * forward + repeated if training else forward

    def _params(self, n_expert):
        norm = self.d_model * (2 if self.bias and self.norm == "layer" else 1)
        layer = 2 * norm + self._layer_params(n_expert, self.bias, self.has_qkv_bias)
        return self._embedding_params() + self.n_layer * layer + norm

    def _embedding_params(self):
        matrices = self.vocab_size * (1 if self.tied else 2)
        return self.d_model * (matrices + (self.context if self.positions == "learned" else 0))

    def _layer_params(self, n_expert, bias, qkv_bias):
        """Weights of one layer's matrices, and of their biases where there are any."""
        attention = (self.d_model + qkv_bias) * (self.attention_width + 2 * self.kv_width)
        attention += (self.attention_width + bias) * self.d_model
        up = (2 if self.gated_mlp else 1) * (self.d_model + bias) * self.ff_width
        down = (self.ff_width + bias) * self.d_model
        router = self.d_model * self.n_expert if self.n_expert > 1 else 0
        return attention + router + n_expert * (up + down)
