"""Proves that every variant of notebook 08 costs and computes what its name says, that its stored
sweep is whole and comes from its script, and that its explorer keeps to the limits it is given.
"""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch

import sweeps
from answers.compression import EXPLORER
from modelscale import compress, count, models
from modelscale.course import Sweep, compression
from modelscale.dial import describe_machine

SCRIPT = sweeps.script("compression")
BIG, Variant = SCRIPT.BIG, SCRIPT.Variant
VARIANTS = [
    Variant("alone", 24),
    Variant("longer", 24),
    Variant("distilled", 16, "int8"),
    Variant("alone", BIG, "bfloat16"),
    Variant("alone", BIG, "4 bits"),
    Variant("narrowed", 64),
    Variant("low rank", 16),
    Variant("low rank", 16, "int8"),
    Variant("pruned", 0.8),
    Variant("pruned", 0.8, "sparse"),
    Variant("experts", 4),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_a_variant_costs_and_computes_what_its_name_says(variant):
    network, x = variant.untrained(seed=1), torch.randn(5, 40)
    model = models.build(variant.shape, 1)
    plain = variant.cut(model) if variant.is_cut else model
    loss = {"int8": 0.1, "bfloat16": 0.02, "4 bits": 0.5}.get(variant.stored, 1e-5)
    with torch.inference_mode():
        found, wanted = network(x), plain(x)
    assert found.dtype == torch.float32
    assert float((found - wanted).norm() / wanted.norm()) < loss
    weights = sum(layer.weight.numel() for layer in compress.layers.weighted(plain).values())
    others = sum(p.numel() for p in plain.parameters()) - weights
    if variant.stored in ("float32", "bfloat16"):
        each = 4 if variant.stored == "float32" else 2
        assert variant.stored_bytes(network) == each * (weights + others)
    elif variant.stored in ("int8", "4 bits"):  # a float32 step beside each row of weights
        rows = sum(len(layer.weight) for layer in compress.layers.weighted(plain).values())
        packed = weights if variant.stored == "int8" else weights / 2
        if variant.method == "low rank":  # first factors have no bias, but the kernel stores zeros
            others += 3 * int(variant.size)
        assert variant.stored_bytes(network) == packed + 4 * (rows + others)


def test_the_same_flops_whatever_the_numbers_are_stored_in():
    flops = {
        stored: models.counted_flops(Variant("alone", BIG, stored).untrained(), torch.ones(1, 40))
        for stored in ("float32", "bfloat16", "int8", "4 bits")
    }
    assert set(flops.values()) == {count.MLP(3, BIG).matmul_flops(1)}


@pytest.fixture(scope="module")
def stored():
    """The file of the sweep, and its cells by the name of the variant."""
    content = sweeps.read("compression")
    return content, {cell["name"]: cell for cell in content["cells"]}


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    content, cells = stored
    assert list(cells) == [variant.name for variant in SCRIPT.VARIANTS]
    assert sweeps.says_where_it_comes_from(content, SCRIPT.SEEDS) and len(SCRIPT.SEEDS) >= 5
    assert content["recipe"] == asdict(SCRIPT.RECIPE)
    assert {"head_start", "clock"} <= set(content["seconds"])
    assert "cores" in content["clock"]["machine"]
    for variant, cell in zip(SCRIPT.VARIANTS, cells.values(), strict=True):
        assert len(cell["accuracy"]) == len(SCRIPT.SEEDS)
        assert (cell["as_cut"] is not None) == variant.is_cut
        network = variant.untrained()
        if variant.stored != "sparse":  # how many weights of each row are cut depends on them
            assert cell["bytes"] == variant.stored_bytes(network)
            assert cell["flops"] == models.counted_flops(network, torch.zeros(1, 40))
    timed = {(row["name"], row["batch"]) for row in content["passes"]}
    assert timed == {(name, batch) for name in cells for batch in SCRIPT.BATCHES}
    assert all(0 < row["fast"] <= row["median"] <= row["slow"] for row in content["passes"])
    assert [row["seed"] for row in content["few_labels"]] == list(SCRIPT.SEEDS)
    starts = [(row["seed"], row["start"]) for row in content["head_start"]]
    assert starts == [(s, start) for s in SCRIPT.HEAD_SEEDS for start in ("scratch", "slice")]
    assert all(str(steps) in row for row in content["head_start"] for steps in SCRIPT.FURTHER)


def test_the_script_makes_the_same_again(stored):
    """The cheapest cell, one seed of it, trained anew."""
    cell = stored[1]["alone 16"]
    again = SCRIPT.accuracy(SCRIPT.train(Variant("alone", 16), 0, cell["lr"]), 0)
    assert again == pytest.approx(cell["accuracy"][0], abs=0.02)


def test_a_sweep_made_again_says_where_it_was_made_again(tmp_path, monkeypatch):
    script, out = sweeps.script("compression"), tmp_path / "compression.json"
    out.write_text(json.dumps({"machine": "an old one", "date": "2020-01-01", "cells": [{"a": 1}]}))
    monkeypatch.setattr(script, "PARTS", {"cells": lambda _: {"cells": [{"a": 2}]}})
    monkeypatch.setattr(sys, "argv", ["compression", "--out", str(out)])
    script.main()
    assert json.loads(out.read_text())["machine"] == describe_machine()


def test_what_nobody_beats():
    cost, value = [1, 2, 2, 3, 4, 4], [0.5, 0.7, 0.7, 0.6, 0.9, 0.8]
    assert list(compression.unbeaten(cost, value)) == [True, True, True, False, True, False]


@pytest.mark.parametrize("ms", [0.05, 0.1, 10])
@pytest.mark.parametrize("mb", [0.005, 0.1, 5])
@pytest.mark.parametrize("longer", ["counted in", "left out"])
def test_full_marks_are_below_both_limits_and_the_ring_is_the_best_of_them(stored, ms, mb, longer):
    explorer = EXPLORER()
    for name, value in (("ms", ms), ("mb", mb), ("longer", longer)):
        explorer.controls[name].value = value
    below = [
        cell
        for cell in stored[1].values()
        if 1e3 * (2e-5 + 16 * cell["flops"] * 2e-11) <= ms
        and cell["bytes"] <= 1e6 * mb
        and (longer == "counted in" or cell["method"] != "longer")
    ]
    art = explorer.picture.art
    full = sum(len(art["marks"][1][family].get_xdata()) for family in compression.FAMILIES)
    out = sum(len(art["marks"][1][family, "out"].get_xdata()) for family in compression.FAMILIES)
    assert full == len(below) and full + out == len(stored[1])
    best = max((np.median(cell["accuracy"]) for cell in below), default=None)
    assert list(art["best"][1].get_ydata()) == ([] if best is None else [best])
    assert list(art["limits"][0].get_xdata()) == [ms, ms]


def test_seconds_are_the_stored_ones_where_none_were_measured(stored):
    explorer = compression.compression_explorer(Sweep(sweeps.path("compression"), "name"))
    explorer.controls["batch"].value = 256
    rows = {row["name"]: row["fast"] for row in stored[0]["passes"] if row["batch"] == 256}
    x = np.concatenate(
        [
            line.get_xdata()
            for key, line in explorer.picture.art["marks"][0].items()
            if key != "bars"
        ]
    )
    assert sorted(x) == pytest.approx(sorted(1e3 * s for s in rows.values()))


def test_one_colleagues_network_is_sound_and_one_is_mended_by_rounding_anew(stored):
    task = SCRIPT.task(0)
    network = SCRIPT.train(Variant("alone", 64), 0, stored[1]["alone 64"]["lr"])
    right = {
        name: SCRIPT.accuracy(n, 0) for name, n in compression.three_colleagues(network).items()
    }
    full = SCRIPT.accuracy(network, 0)
    assert abs(right["a"] - full) < 0.01 and max(right["b"], right["c"]) < full - 0.15
    assert len(task.y_test) == SCRIPT.TEST
