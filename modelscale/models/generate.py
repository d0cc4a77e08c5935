"""Generating text token by token, with the keys and values of earlier tokens kept or not.

Legend: B batch, T tokens, K key and value heads, Q numbers in a head, V vocabulary.
"""

import torch
from torch import nn

from .. import check, count


class Cache:
    """Keys and values of all layers for `length` tokens of `batch` sequences, filled by `GPT`.

    `used` tokens are in it; `nbytes` is what it takes, filled or not.

    Raises: ValueError if a size is not a whole number of at least 1.
    Taught in: 07_efficiency.
    """

    def __init__(self, shape: count.Transformer, batch: int, length: int, like: torch.Tensor):
        check.integer("batch", batch)
        check.integer("length", length, high=shape.context, remedy="the context is the limit")
        size = (batch, shape.kv_heads, length, shape.head_size)
        self.layers = [LayerCache(like, size) for _ in range(shape.n_layer)]

    @property
    def used(self) -> int:
        """Tokens whose keys and values are in the cache of every layer."""
        return self.layers[-1].used

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)


class LayerCache:
    """Keys and values of one layer, each (B, K, length, Q), in the type and place of `like`."""

    def __init__(self, like: torch.Tensor, size: tuple):
        self.keys, self.values, self.used = like.new_empty(size), like.new_empty(size), 0

    def extend(self, keys, values):
        """All keys and values up to here, those of the new tokens written behind the others.

        Shapes: twice (B, K, T, Q) -> twice (B, K, used, Q)
        """
        start, end, length = self.used, self.used + keys.shape[2], self.keys.shape[2]
        if end > length:
            raise ValueError(
                f"length={length}: a cache that holds {length} tokens was given {end}. Make a"
                " longer one, or start anew."
            )
        self.used = end
        self.keys[:, :, start:end], self.values[:, :, start:end] = keys, values
        return self.keys[:, :, :end], self.values[:, :, :end]


@torch.no_grad()  # not inference_mode: its tokens could not be trained on
def generate(
    model: nn.Module,
    tokens: torch.Tensor,
    n: int,
    cache: bool = True,
    temperature: float = 0.0,
    seed: int = 0,
) -> torch.Tensor:
    """`tokens` with `n` more behind them, each drawn by the model from all before it.

    Temperature 0 takes the likeliest token, 1 draws by the model's own probabilities, by `seed`.
    With `cache` a new token alone goes through the model; without, all of the sequence does again.

    Shapes: (B, T) -> (B, T + n)
    Raises: ValueError for more tokens than the context holds, or a temperature below 0.
    Taught in: 07_efficiency.
    """
    batch, prompt = _check(model.shape, tokens, n, temperature)
    check.one_of("cache", cache, (True, False))
    generator = torch.Generator(tokens.device).manual_seed(check.integer("seed", seed, low=0))
    # the last new token is never looked at, so it needs no place
    kept = Cache(model.shape, batch, prompt + n - 1, model.embed.weight) if cache else None
    new = tokens
    for _ in range(n):
        logits = model(new, kept) if cache else model(tokens)
        new = pick(logits[:, -1], temperature, generator)
        tokens = torch.cat((tokens, new), dim=1)
    return tokens


def pick(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """One token for each row of logits: the likeliest at temperature 0, else a draw.

    Shapes: (B, V) -> (B, 1)
    Taught in: 07_efficiency.
    """
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)


def _check(shape, tokens, n, temperature):
    """(B, T) of the prompt."""
    check.number("temperature", temperature, above=False)
    if tokens.dim() != 2 or not tokens.shape[1]:
        raise ValueError(
            f"tokens has the shape {tuple(tokens.shape)}: it must be (B, T) with at least one token"
            " a sequence. A single prompt is tokens[None]."
        )
    check.integer("n", n)
    if tokens.shape[1] + n > shape.context:
        raise ValueError(
            f"n={n}: it must be at most {shape.context - tokens.shape[1]}, as prompt and new tokens"
            f" together fit into context={shape.context}. Ask for fewer, or cut the prompt."
        )
    return tokens.shape
