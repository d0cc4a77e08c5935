"""Notebook 09: its checkers."""

from . import exercise

check_cache_bytes = exercise(
    "every layer keeps a key and a value of kv_heads * head_size numbers for each token of each "
    "sequence.",
    name="cache_bytes",
    cases=[(4, 4, 32, 1, 256, 4), (32, 8, 128, 16, 4096, 2), (2, 1, 8, 3, 5, 1)],
    reference=lambda layers, kv_heads, head_size, batch, tokens, size: (
        2 * layers * kv_heads * head_size * batch * tokens * size
    ),
)
