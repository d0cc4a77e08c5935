"""Bytes that a rank sends: of each collective done in the best way known, and of a split layer.

Legend: p ranks, b sequences, s tokens in a sequence, h width.
"""

from .. import check
from .memory import VALUE_BYTES
from .transformer import Transformer

# Bytes sent by each of p ranks, as a share of the largest tensor on either side.
# Source: Patarasuk and Yuan 2009, for the all-reduce: a reduce-scatter, then an all-gather.
SENT_SHARE = {
    "all_reduce": lambda p: 2 * (p - 1) / p,
    "all_gather": lambda p: (p - 1) / p,
    "reduce_scatter": lambda p: (p - 1) / p,
    "all_to_all": lambda p: (p - 1) / p,  # of equal parts
    "send": lambda p: 1.0,
}


def sent_bytes(collective: str, n_bytes: float, ranks: int) -> float:
    """The bytes that each rank sends in a collective whose largest tensor has `n_bytes`."""
    check.one_of("collective", collective, tuple(SENT_SHARE))
    check.number("n_bytes", n_bytes, above=False)
    return SENT_SHARE[collective](check.integer("ranks", ranks)) * n_bytes


def tensor_parallel_bytes(
    shape: Transformer, batch_size: int, seq_len: int, ranks: int, dtype: str = "float32"
) -> float:
    """The bytes that each rank sends for ONE layer in the forward pass, and again in the backward.

    Attention and the MLP each end in an all-reduce of (b, s, h), or, with sequence parallelism, in
    a reduce-scatter and an all-gather, which together send as much.
    Source: Shoeybi 2019 (Megatron-LM), section 3; Korthikanti 2022, section 4.2.2.
    """
    value_bytes = VALUE_BYTES[check.one_of("dtype", dtype, tuple(VALUE_BYTES))]
    tokens = check.integer("batch_size", batch_size) * check.integer("seq_len", seq_len)
    return 2 * sent_bytes("all_reduce", tokens * shape.d_model * value_bytes, ranks)
