"""Proves that the three pipelines of notebook 09 show the symptoms on which its answer rests."""

import numpy as np

from modelscale.parallel.schedule import build
from modelscale.parallel.simulate import Costs, simulate


def test_only_the_last_rank_cannot_mix_micro_batches_up():
    """The stack's symptom: under 1F1B the last rank alone holds one activation at a time."""
    assert build("1f1b", 4, 8).peak_live == [4, 3, 2, 1]


def test_an_uneven_cut_shows_on_the_clock():
    layers, made = (1, 1, 1, 5), build("1f1b", 4, 8)
    even, uneven = (simulate(made, Costs(c, c, c)).bubble for c in (1, layers))
    assert uneven > even + 0.3


def test_the_labs_letters_are_dealt_as_the_checker_knows():
    """Stack, uneven, without the mean: the notebook's permutation puts the stack at b."""
    dealt = np.random.default_rng(9).permutation(3)
    assert "abc"[list(dealt).index(0)] == "b"
