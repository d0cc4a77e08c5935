"""Keys and values of earlier tokens, kept while a text is written token by token.

Legend: B batch, T tokens, K key and value heads, Q numbers in a head.
"""

import torch

from .. import check, count


class Cache:
    """Keys and values of all layers for `length` tokens of `batch` sequences, filled by `GPT`.

    They have the type and place of `like`. `used` tokens are in it.
    """

    def __init__(self, shape: count.Transformer, batch: int, length: int, like: torch.Tensor):
        check.integer("batch", batch)
        check.integer("length", length, high=shape.context, remedy="the context is the limit")
        size = (batch, shape.kv_heads, length, shape.head_size)
        self.layers = [_LayerCache(like, size) for _ in range(shape.n_layer)]

    @property
    def used(self) -> int:
        """Tokens whose keys and values are in the cache of every layer."""
        return self.layers[-1].used

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, filled or not."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)


class _LayerCache:
    """Keys and values of one layer, each (B, K, length, Q)."""

    def __init__(self, like, size):
        self.keys = like.new_empty(size)
        self.values = like.new_empty(size)
        self.used = 0

    def extend(self, keys, values):
        """All keys and values up to here, those of the new tokens written behind the others.

        Shapes: twice (B, K, T, Q) -> twice (B, K, used, Q)
        """
        start, end, length = self.used, self.used + keys.shape[2], self.keys.shape[2]
        if end > length:
            remedy = f"{end} were to be kept: make a longer cache, or start anew"
            check.refuse("length", length, "enough for all tokens", remedy)
        self.used = end
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]
