"""Bytes of a training run or a server: states, activations, keys and values.

Legend: s tokens in a sequence, b sequences, h width, a heads, t-way tensor parallelism.
"""

from .. import check
from .transformer import RECOMPUTE, Transformer

VALUE_BYTES = {"float32": 4, "bfloat16": 2}
INDEX_BYTES = 8  # tokens and targets are int64

# Bytes a parameter of weights, gradients and Adam's states. Mixed precision keeps weights, momentum
# and variance for the optimizer in float32 (Rajbhandari 2020, section 3.1, K = 12); with all in
# float32 the optimizer needs no weights of its own.
STATE_BYTES = {"mixed": (2, 2, 12), "float32": (4, 4, 8)}


def state_bytes(
    n_params: float, data_parallel: int = 1, zero_stage: int = 0, precision: str = "mixed"
) -> float:
    """Bytes per device of weights, gradients and Adam states, in mixed precision or "float32".

    ZeRO splits over the `data_parallel` devices: stage 1 the optimizer states, 2 the gradients
    too, 3 the weights too.

    Source: Rajbhandari 2020 (ZeRO), figure 1.
    """
    devices = check.integer("data_parallel", data_parallel)
    stage = check.integer("zero_stage", zero_stage, low=0, high=3)
    weights, gradients, optimizer = STATE_BYTES[check.one_of("precision", precision, STATE_BYTES)]
    weights /= devices if stage >= 3 else 1
    gradients /= devices if stage >= 2 else 1
    optimizer /= devices if stage >= 1 else 1
    return check.number("n_params", n_params) * (weights + gradients + optimizer)


def activation_bytes(
    model: Transformer,
    micro_batch: int,
    seq_len: int,
    tensor_parallel: int = 1,
    sequence_parallel: bool = False,
    recompute: str = "none",
) -> float:
    """Bytes per device that ONE layer keeps for the backward pass, by the published formula.

    It holds for plain dense blocks, 16-bit values, dropout, and attention that stores its scores.
    What our own `GPT` saves is `saved_bytes`.

    Source: Korthikanti 2022, table 2.
    """
    _check_plain(model)
    t = check.integer("tensor_parallel", tensor_parallel)
    check.divides("tensor_parallel", t, "n_head", model.n_head)
    check.one_of("sequence_parallel", sequence_parallel, (True, False))
    check.one_of("recompute", recompute, RECOMPUTE)
    s, h = check.integer("seq_len", seq_len), model.d_model
    sbh = s * check.integer("micro_batch", micro_batch) * h
    whole = t if sequence_parallel else 1  # what tensor parallelism alone leaves on every device
    if recompute == "full":
        return 2 * sbh / whole
    scores = 5 * model.n_head * s / h if recompute == "none" else 0
    return sbh * (10 / whole + (24 + scores) / t)


def saved_bytes(
    model: Transformer, batch: int, seq_len: int, dtype: str, recompute: str = "none"
) -> int:
    """Bytes that our `models.GPT` saves for the backward pass, cross-entropy included.

    All layers, embeddings, last norm, head and loss, each storage once, without the parameters;
    fused attention, no dropout, weights and activations in `dtype`, "float32" or "bfloat16". RMS
    norms are counted as the CPU computes them, in float32; a GPU's fused kernel saves less.
    `recompute="full"` saves of each block its input alone; while one is computed again, all of
    that block is there too.
    """
    check.one_of("recompute", recompute, ("none", "full"))
    size, tokens = _value_bytes(dtype), _tokens(batch, seq_len)
    layer = size * model.d_model if recompute == "full" else _layer_saved_bytes(model, size)
    head = size * (model.d_model + model.vocab_size)  # its input, and the log-probabilities
    last = _norm_saved_bytes(model, size) + head + 2 * INDEX_BYTES
    return tokens * (model.n_layer * layer + last) + _rotary_bytes(model, size)


def kv_cache_bytes(model: Transformer, batch: int, seq_len: int, bytes_per_value: int = 2) -> int:
    """Bytes of the keys and values kept for `batch` sequences of `seq_len` tokens.

    Source: Ainslie 2023 (grouped queries), section 2.
    """
    tokens = _tokens(batch, seq_len)
    value_bytes = check.integer("bytes_per_value", bytes_per_value)
    return 2 * model.n_layer * tokens * model.kv_width * value_bytes


def _check_plain(model):
    plain = {
        "gated_mlp": (model.gated_mlp, False),
        "n_kv_head": (model.kv_heads, model.n_head),
        "head_dim": (model.head_size, model.d_model / model.n_head),
        "d_ff": (model.ff_width, 4 * model.d_model),
        "n_expert": (model.n_expert, 1),
    }
    for name, (value, wanted) in plain.items():
        check.one_of(name, value, (wanted,), "the published formula holds for plain dense blocks")


def _value_bytes(dtype):
    return VALUE_BYTES[check.one_of("dtype", dtype, tuple(VALUE_BYTES))]


def _tokens(batch, seq_len):
    return check.integer("batch", batch) * check.integer("seq_len", seq_len)


def _rotary_bytes(model, size):
    return size * model.context * model.head_size if model.positions == "rotary" else 0


def _layer_saved_bytes(model, size):
    """Bytes a token that one block saves."""
    mixture = _mixture_saved_bytes(model, size) if model.n_expert > 1 else 0
    return _attention_saved_bytes(model, size) + _mlp_saved_bytes(model, size) + mixture


def _norm_saved_bytes(model, size):
    if model.norm == "rms":  # the input and the normalised input in float32, and one deviation
        return VALUE_BYTES["float32"] * (2 * model.d_model + 1)
    return size * (model.d_model + 2)  # the input, its mean and deviation


def _attention_saved_bytes(model, size):
    """Bytes a token: norm, input of the fused linear map, its output, rotated copies, result."""
    queries, keys = model.attention_width, model.kv_width
    rotated = queries + keys if model.positions == "rotary" else 0  # the unrotated stay, beside v
    values = model.d_model + (queries + 2 * keys) + rotated + queries
    log_sums = VALUE_BYTES["float32"] * model.n_head  # one a head, kept by fused attention
    return _norm_saved_bytes(model, size) + size * values + log_sums


def _mlp_saved_bytes(model, size):
    """Bytes a token: norm, input, and the inputs of activation, product (gated) and last map."""
    hidden = model.n_expert_active * (4 if model.gated_mlp else 2) * model.ff_width
    return _norm_saved_bytes(model, size) + size * (model.d_model + hidden)


def _mixture_saved_bytes(model, size):
    """Bytes a token beside its MLPs: inputs sorted by expert, outputs sorted back, the routing."""
    k = model.n_expert_active
    outputs = 2 * size * k * model.d_model
    probabilities = VALUE_BYTES["float32"] * model.n_expert
    shares = VALUE_BYTES["float32"] * (k + 1) if k > 1 else 0  # the chosen ones and their sum
    return outputs + probabilities + shares + size * k + 3 * INDEX_BYTES * k
