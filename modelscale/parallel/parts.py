"""A network cut into parts that follow each other, as ranks of a pipeline hold them.

Legend: B batch, T tokens, C channels (`d_model`), V vocabulary.
"""

from torch import nn

from .. import check
from ..models import GPT
from ..models.gpt import to_logits


class Part(nn.Module):
    """Some blocks of a GPT that follow each other; the first part also embeds the tokens, the last
    one norms and gives logits. Parameters have the names they have in the whole network.

    Shapes: (B, T) or (B, T, C) -> (B, T, C) or (B, T, V)
    """

    def __init__(self, gpt: GPT, first: int, end: int):
        super().__init__()
        self.is_first, self.is_last = first == 0, end == len(gpt.blocks)
        if self.is_first:
            self.embed, self.position = gpt.embed, gpt.position
        self.blocks = nn.ModuleDict({str(i): gpt.blocks[i] for i in range(first, end)})
        if self.is_last:
            self.norm, self.head = gpt.norm, gpt.head
        self.register_buffer("rotary", gpt.rotary, persistent=False)

    def forward(self, x):
        tokens = x.shape[1]
        if self.is_first:
            x = self.embed(x)  # (B, T) -> (B, T, C)
            if self.position is not None:
                x = x + self.position.weight[:tokens]
        rotary = None if self.rotary is None else self.rotary[:, :tokens]
        for block in self.blocks.values():
            x = block(x, rotary)
        return to_logits(self.norm, self.head, x) if self.is_last else x


def cut(gpt: GPT, parts: int) -> list[Part]:
    """The network in `parts` parts of equally many blocks, which share its parameters.

    Raises: ValueError where `parts` does not divide its blocks, or its head is tied to its
    embedding: the two would lie on different ranks.
    Taught in: 09_model_parallel.
    """
    n_layer = len(gpt.blocks)
    check.integer("parts", parts)
    check.divides("parts", parts, "n_layer", n_layer, "every part gets as many blocks")
    if parts > 1 and gpt.shape.tied:
        raise ValueError(
            "tied=True: the first and the last part would share a weight. Build the network with "
            "tied=False."
        )
    size = n_layer // parts
    return [Part(gpt, i * size, (i + 1) * size) for i in range(parts)]
