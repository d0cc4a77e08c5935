"""Text as bytes: the Python standard library of this machine, or an invented language.

Legend: B batch, T tokens of context; a token is a byte.
"""

import hashlib
import os
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import check

# Folders of other people's packages and of tests, and of tables and programs apart.
PACKAGES_TESTS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
TABLES = {"encodings", "idlelib", "lib2to3", "pydoc_data", "tkinter", "turtledemo", "ensurepip"}
ENOUGH_BYTES = 4_000_000  # whole installations hold 7 to 9 million after what is skipped
VALIDATION_SHARE = 16  # one file in so many
SYNTHETIC_BYTES, SYNTHETIC_VAL_BYTES = 8_000_000, 500_000
N_WORDS, N_NEXT = 4000, 4  # of the invented language; each word has its favourite next words
SENTENCES, LONGEST = 2000, 16  # drawn at once; another number would give another text


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """Bytes to train a language model on, and bytes of other files to judge it by."""

    train: Tensor  # (n,) uint8
    val: Tensor  # (n,) uint8
    name: str
    vocab_size: int = 256

    def batch(self, batch_size: int, context: int, generator: torch.Generator) -> tuple:
        """Training inputs and targets from random places: y is x one byte later.

        Shapes: x (B, T) int64, y (B, T) int64
        """
        check.integer("batch_size", batch_size)
        last = len(self.train) - check.integer("context", context, 1, len(self.train) - 1)
        start = torch.randint(last, (batch_size,), generator=generator)
        return _windows(self.train, start, context)

    def val_batches(self, batch_size: int, context: int, n_batches: int | None = None) -> list:
        """The same validation batches at every call: windows side by side, none twice.

        With `n_batches`, so many of them, spread evenly over the text; else all that are full.

        Shapes: pairs of x (B, T) int64 and y (B, T) int64
        """
        check.integer("batch_size", batch_size)
        n_windows = (len(self.val) - 1) // check.integer("context", context, 1, len(self.val) - 1)
        full = n_windows // batch_size
        n_batches = full if n_batches is None else n_batches
        check.integer("n_batches", n_batches, high=full, remedy="the text holds no more of them")
        picked = torch.arange(n_batches * batch_size) * n_windows // (n_batches * batch_size)
        return [_windows(self.val, rows * context, context) for rows in picked.split(batch_size)]

    def __repr__(self) -> str:
        return (
            f"{self.name} text: {len(self.train):,} training and {len(self.val):,} validation bytes"
        )


def text(n_bytes: int | None = None, seed: int = 0, source: str = "auto") -> Text:
    """A Text of `n_bytes` training bytes, or of all there are.

    `"stdlib"` is Python's own library, without its tests and tables: other bytes in each version
    of Python, so no loss on it is exact. A file is trained on or validated on, never both; `seed`
    orders the training files. `"synthetic"` is an invented language of any length, the same
    everywhere for one seed. `"auto"` is the first where it is found, else the second and a warning.
    """
    check.one_of("source", source, ("auto", "stdlib", "synthetic"))
    if n_bytes is not None:
        check.integer("n_bytes", n_bytes)
    if source != "synthetic":
        root = Path(sysconfig.get_paths()["stdlib"])
        files = _files(root)
        found_bytes = sum(path.stat().st_size for path in files)
        if found_bytes >= ENOUGH_BYTES:
            return _from_files(root, files, n_bytes, seed)
        missing = f"only {found_bytes / 1e6:.1f} MB of Python sources in the library of this Python"
        if source == "stdlib":
            check.refuse("source", source, "'synthetic'", missing)
        warnings.warn(f"{missing}: going on with source='synthetic'.", stacklevel=2)
    return _invented(n_bytes or SYNTHETIC_BYTES, seed)


def _windows(tokens: Tensor, start: Tensor, context: int) -> tuple[Tensor, Tensor]:
    rows = tokens[(start[:, None] + torch.arange(context + 1)).to(tokens.device)].long()
    return rows[:, :-1], rows[:, 1:]


def _files(root: Path) -> list[Path]:
    """The sources below `root` worth reading, in an order that is the same on every system."""
    found = []
    for folder, inside, names in os.walk(root):
        inside[:] = set(inside) - PACKAGES_TESTS - TABLES  # never walked: they may be large
        found += [
            Path(folder, name)
            for name in names
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    found = [path for path in found if path.is_file()]  # a link may lead nowhere
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _from_files(root: Path, files: list[Path], n_bytes: int | None, seed: int) -> Text:
    train, val = [], []
    for path in files:  # a hash of the name decides: no file ever changes its part
        digest = hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()
        (train if digest[0] % VALIDATION_SHARE else val).append(path)
    order = np.random.default_rng(seed).permutation(len(train))
    content = _read([train[i] for i in order])
    if n_bytes is not None:
        remedy = "source='synthetic' is a text of any length"
        check.integer("n_bytes", n_bytes, 1, len(content), remedy)
    return Text(_tensor(content[:n_bytes]), _tensor(_read(val)), "stdlib")


def _read(files: list[Path]) -> bytes:
    return b"".join(path.read_bytes().replace(b"\r\n", b"\n") for path in files)


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _invented(n_bytes: int, seed: int) -> Text:
    """A text in a language of its own: both parts share its words and its grammar."""
    rng = np.random.default_rng([seed, 0])
    words = _vocabulary(rng)
    favourites = _by_rank(rng.random((N_WORDS, N_NEXT)))
    train = _told(words, favourites, n_bytes, (seed, 1))
    val = _told(words, favourites, SYNTHETIC_VAL_BYTES, (seed, 2))
    return Text(_tensor(train), _tensor(val), "synthetic")


def _vocabulary(rng: np.random.Generator) -> list[bytes]:
    """Different words of one to four syllables, the frequent ones short."""
    syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "el")]
    words: dict[str, None] = {}  # keeps the order, drops the doubles
    while len(words) < N_WORDS:
        count = 1 + sum(len(words) >= end for end in (40, 600, 2400))
        words["".join(syllables[i] for i in rng.integers(len(syllables), size=count))] = None
    return [word.encode() for word in words]


def _by_rank(u: np.ndarray) -> np.ndarray:
    """Words from uniform numbers: the r-th is drawn about as often as 1/r (Zipf's law)."""
    return (N_WORDS**u - 1).astype(np.int64).clip(0, N_WORDS - 1)


def _told(words: list[bytes], favourites: np.ndarray, n_bytes: int, key: tuple) -> bytes:
    """So many bytes of sentences, of which a longer text only adds more."""
    pieces = [word + end for end in (b" ", b".\n") for word in words]
    pieces += [word.capitalize() + b" " for word in words]
    parts, size = [], 0
    while size < n_bytes:
        rows = _sentences(favourites, np.random.default_rng([*key, len(parts)]))
        parts.append(b"".join([pieces[i] for i in rows.tolist()]))
        size += len(parts[-1])
    return b"".join(parts)[:n_bytes]


def _sentences(favourites: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pieces of sentences one after another; every other word is a favourite of the one before."""
    words = _by_rank(rng.random((SENTENCES, LONGEST)))
    chosen = rng.integers(N_NEXT, size=words.shape)
    follows = rng.random(words.shape) < 0.5
    for i in range(1, LONGEST):
        after = favourites[words[:, i - 1], chosen[:, i]]
        words[:, i] = np.where(follows[:, i], after, words[:, i])
    last = rng.integers(3, LONGEST, size=(SENTENCES, 1))
    at = np.arange(LONGEST)
    words = words + N_WORDS * (at == last) + 2 * N_WORDS * (at == 0)
    return words[at <= last]
