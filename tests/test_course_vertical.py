"""Proves that the stored sweep of 01 is whole and shows what is said of it, and the roof of 00."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import sweeps
from modelscale.course import Sweep, your_machine
from test_machine import FLAT


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from():
    sweep = Sweep(sweeps.path("vertical_scaling"), "kind", "n", "depth", "width")
    script = sweeps.script("vertical_scaling")
    grid = itertools.product(script.KINDS, script.SAMPLES, script.DEPTHS, script.WIDTHS)
    assert list(sweep.cells) == list(grid)
    assert sweeps.says_where_it_comes_from(sweep.about, script.SEEDS)
    assert sum(cell["lr"] == max(script.LRS) for cell in sweep.cells.values()) == 38
    test = {place: np.mean(cell["test"]) for place, cell in sweep.cells.items()}
    train = {place: np.mean(cell["train"]) for place, cell in sweep.cells.items()}
    for n in script.SAMPLES:
        assert test["residual", n, 16, 32] > test["plain", n, 16, 32] + 0.01
        assert test["plain", n, 2, 128] > test["plain", n, 2, 8] + 0.05
    for kind, depth, width in itertools.product(script.KINDS, script.DEPTHS, script.WIDTHS[1:]):
        few, many = ((kind, n, depth, width) for n in (500, 32000))
        assert test[many] > test[few] + 0.03
        assert train[few] - test[few] > 3 * (train[many] - test[many])


@pytest.mark.parametrize("times", [1, 1e5], ids=["processor", "accelerator"])
def test_the_point_lies_under_the_roof_and_within_the_picture(times):
    """Also where the roof is so high that starting costs many times what computing does."""
    fast = {"float32": [[8, times * 1e10]]}
    box = replace(FLAT, product_flops_per_s=fast, copy_bytes_per_s=[[1e3, times * 1e9]])
    explorer = your_machine.roofline_explorer(box)
    for kind, n in itertools.product(your_machine.COUNTS, (8, 4096)):
        explorer.controls["kind"].value = kind
        explorer.controls["n"].value = n
        (x,), (y,) = explorer.picture.art.get_data()
        low, high = explorer.picture.art.axes.get_ylim()
        assert low < y < min(10 * times, times * x) < high


def test_on_a_gpu_the_longer_of_working_and_starting_counts():
    gpu = replace(FLAT, device="cuda")
    for kind, n in itertools.product(your_machine.COUNTS, (8, 4096)):
        here, there = (your_machine._predict(m, kind, n)[2] for m in (FLAT, gpu))
        assert there == pytest.approx(max(here - 1e-5, 1e-5))
