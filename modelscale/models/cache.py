"""Keys and values of earlier tokens, kept while a text is written token by token.

Legend: B batch, T tokens, K key and value heads, Q numbers in a head.
"""

import torch

from .. import check, count


class Cache:
    """Keys and values of all layers for `length` tokens of `batch` sequences, filled by `GPT`.

    They have the type and place of `like`. `used` tokens are in it, `nbytes` are its bytes.
    """

    def __init__(self, shape: count.Transformer, batch: int, length: int, like: torch.Tensor):
        check.integer("batch", batch)
        check.integer("length", length, high=shape.context, remedy="the context is the limit")
        size = (shape.n_layer, 2, batch, shape.kv_heads, length, shape.head_size)
        self.layers = like.new_empty(size)  # of each layer its keys, then its values
        self.used = 0
        self.nbytes = self.layers.nbytes

    def extend(self, layer, keys, values):
        """All keys and values of a layer up to here, the new tokens' written behind the others.

        Shapes: twice (B, K, T, Q) -> twice (B, K, used, Q)
        """
        start, end, length = self.used, self.used + keys.shape[2], self.layers.shape[4]
        if end > length:
            remedy = f"{end} were to be kept: make a longer cache, or start anew"
            check.refuse("length", length, "enough for all tokens", remedy)
        kept = self.layers[layer]
        for part, new in zip(kept, (keys, values), strict=True):
            part[:, :, start:end] = new
        if layer == len(self.layers) - 1:
            self.used = end
        return kept[:, :, :, :end]
