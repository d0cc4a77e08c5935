"""Sentences whose labels come for free: what scipy's functions do, and the part they belong to.

A docstring's first paragraph says what a function does; the subpackage it stands in is its class.
Read from the installed scipy's source: nothing is downloaded, imported or run.
"""

import ast
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .. import check
from .base import stream

# those with most to say, in scipy's own order
SUBPACKAGES = ("interpolate", "io", "linalg", "optimize", "signal", "sparse", "spatial", "stats")
WORDS = 4  # at least, in a text


def docstrings(
    n_classes: int = len(SUBPACKAGES), seed: int = 0
) -> tuple[list[str], np.ndarray, list[str]]:
    """(texts, labels, names): what functions of scipy do, and which of `names` each belongs to.

    All classes are equally large, as large as the smallest of scipy's; which texts are taken, and
    their order, `seed` decides. No text is there twice, so that no split has one on both sides, and
    none names a part of scipy. How many there are depends on the installed scipy: over 100 a class.

    Shapes: n texts, labels (n,) int64, n_classes names
    Raises: ValueError for fewer than two classes or more than there are.
    Taught in: 05_transfer_learning.
    """
    remedy = "each class is a subpackage of scipy"
    n_classes = check.integer("n_classes", n_classes, 2, len(SUBPACKAGES), remedy)
    rng = stream(check.integer("seed", seed, 0), "train")
    names = list(SUBPACKAGES[:n_classes])
    found = _without_shared([_summaries(name) for name in names])
    size = min(map(len, found))
    texts = [rng.permutation(sorted(own))[:size].tolist() for own in found]
    order = rng.permutation(size * n_classes)
    flat = [text for own in texts for text in own]
    return [flat[i] for i in order], np.repeat(np.arange(n_classes), size)[order], names


def _summaries(name):
    """The first paragraphs of the docstrings in a subpackage, its tests left out."""
    folder = Path(find_spec("scipy").origin).parent / name
    paths = [path for path in folder.rglob("*.py") if "tests" not in path.parts]
    return {text for path in paths for text in _first_paragraphs(path.read_text("utf-8"))}


def _first_paragraphs(source):
    for node in _definitions(ast.parse(source)):
        words = (ast.get_docstring(node) or "").split("\n\n")[0].split()
        text = " ".join(words)
        if len(words) >= WORDS and "scipy." not in text:
            yield text


def _definitions(node):
    """All functions and classes in a module or class, methods included."""
    for child in node.body:
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            yield child
            yield from _definitions(child)


def _without_shared(found):
    """The same sets, without what is in more than one of them."""
    return [own.difference(*found[:i], *found[i + 1 :]) for i, own in enumerate(found)]
