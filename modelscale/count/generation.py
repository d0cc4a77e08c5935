"""FLOPs of generating text token by token, earlier keys and values kept or computed again."""

from .. import check
from .transformer import Transformer


def generate_flops(
    model: Transformer, prompt: int, n: int, cache: bool = True, batch: int = 1
) -> int:
    """FLOPs of the matrix products that add `n` tokens to each of `batch` prompts.

    The first new token takes a pass over the prompt, as long as `prompt` tokens. Each later one
    takes a pass over a single token that looks back on all before it, its own place included;
    without `cache`, a pass over the whole sequence. Logits are counted for all that passes.

    Raises: ValueError for more tokens than the context holds.
    Source: the sum of `matmul_flops` over the passes.
    Taught in: 07_efficiency.
    """
    check.one_of("cache", cache, (True, False))
    length = check.integer("prompt", prompt, high=model.context)
    new = check.integer("n", n)
    if length + new > model.context:
        raise ValueError(
            f"n={n}: it must be at most {model.context - length}, as prompt={prompt} and new"
            f" tokens together fit into context={model.context}. Ask for fewer."
        )
    passed = range(length, length + new)  # tokens that the model has seen after each pass
    passes = [(1 if cache and seen > length else seen, seen) for seen in passed]
    total = sum(model.matmul_flops(tokens, seen) for tokens, seen in passes)
    return check.integer("batch", batch) * total
