"""Proves that scipy's docstrings make a task: balanced, seeded, no text twice, no label told."""

import numpy as np
import pytest

from modelscale import data
from modelscale.data.docstrings import _without_shared


@pytest.fixture(scope="module")
def task():
    return data.docstrings()


def test_classes_are_equally_large_and_no_text_is_there_twice(task):
    texts, labels, names = task
    assert len(texts) == len(labels) == len(set(texts))
    counts = np.bincount(labels)
    assert len(counts) == len(names) == 8
    assert (counts == counts[0]).all() and counts[0] >= 80
    assert labels.dtype == np.int64


def test_a_text_of_two_subpackages_is_in_neither():
    assert _without_shared([{"a", "b"}, {"b", "c"}, {"d", "a"}]) == [set(), {"c"}, {"d"}]


def test_texts_are_single_paragraphs_that_name_no_part_of_scipy(task):
    for text in task[0]:
        assert len(text.split()) >= 4
        assert "\n" not in text and "scipy." not in text


def test_a_text_stands_in_the_subpackage_that_is_its_label(task):
    texts, labels, names = task
    words = {"sparse": "sparse", "interpolate": "interpolat", "signal": "filter", "io": "file"}
    for name, word in words.items():
        counts = np.bincount([y for text, y in zip(texts, labels, strict=True) if word in text])
        assert names[counts.argmax()] == name, word


def test_the_seed_decides_texts_and_order():
    first, again, other = (data.docstrings(2, seed) for seed in (3, 3, 4))
    assert first[0] == again[0] and (first[1] == again[1]).all()
    assert first[0] != other[0]
    assert len(first[2]) == 2


@pytest.mark.parametrize("n_classes", [1, 9, "all"])
def test_mistakes_are_answered(n_classes):
    with pytest.raises(ValueError, match=rf"^n_classes={n_classes!r}: .*at least 2, at most 8"):
        data.docstrings(n_classes)
