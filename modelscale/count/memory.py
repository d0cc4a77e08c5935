"""Bytes of a training run: states and activations.

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
    split = [devices if stage >= first else 1 for first in (3, 2, 1)]
    states = zip(STATE_BYTES[check.one_of("precision", precision, STATE_BYTES)], split, strict=True)
    return check.number("n_params", n_params) * sum(n_bytes / ranks for n_bytes, ranks in states)


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

    Each storage counts once, parameters do not; fused attention, no dropout, weights and
    activations in `dtype`, "float32" or "bfloat16". RMS norms are counted as the CPU computes them,
    in float32; a GPU's fused kernel saves less. `recompute="full"` saves of each block its input
    alone; while one is computed again, all of that block is there too.
    """
    check.one_of("recompute", recompute, ("none", "full"))
    size = VALUE_BYTES[check.one_of("dtype", dtype, tuple(VALUE_BYTES))]
    tokens = check.integer("batch", batch) * check.integer("seq_len", seq_len)
    norm = size * (model.d_model + 2)  # the input, its mean and deviation
    if model.norm == "rms":  # the input and the normalised input in float32, and one deviation
        norm = VALUE_BYTES["float32"] * (2 * model.d_model + 1)
    layer = size * model.d_model if recompute == "full" else 2 * norm + _block_bytes(model, size)
    head = size * (model.d_model + model.vocab_size)  # its input, and the log-probabilities
    rotary = size * model.context * model.head_size if model.positions == "rotary" else 0
    return tokens * (model.n_layer * layer + norm + head + 2 * INDEX_BYTES) + rotary


def _block_bytes(model, size):
    """Bytes a token that one block saves beside its norms."""
    queries, keys = model.attention_width, model.kv_width
    rotated = queries + keys if model.positions == "rotary" else 0  # the unrotated stay, beside v
    # input of the fused linear map, its output, rotated copies, result; one sum a head
    attention = size * (model.d_model + (queries + 2 * keys) + rotated + queries)
    attention += VALUE_BYTES["float32"] * model.n_head
    # input, and the inputs of activation, product (gated) and last map
    k = model.n_expert_active
    mlp = size * (model.d_model + k * (4 if model.gated_mlp else 2) * model.ff_width)
    if model.n_expert > 1:  # inputs sorted by expert, outputs sorted back, the routing
        shares = k + 1 if k > 1 else 0  # the chosen ones and their sum
        mlp += 2 * size * k * model.d_model + VALUE_BYTES["float32"] * (model.n_expert + shares)
        mlp += (size + 3 * INDEX_BYTES) * k
    return attention + mlp


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
