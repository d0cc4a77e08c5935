"""Proves that every variant of notebook 07 costs and computes what its name says, and that its
stored sweep is whole, comes from its script, and shows what the notebook says of it.
"""

import json
import sys
from dataclasses import asdict

import pytest
import torch

import sweeps
from modelscale import compress, count, models
from modelscale.compress.variants import BIG, InHalf, Variant
from modelscale.dial import describe_machine

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
        stored: compress.forward_flops(Variant("alone", BIG, stored).untrained(), torch.ones(1, 40))
        for stored in ("float32", "bfloat16", "int8", "4 bits")
    }
    assert set(flops.values()) == {count.MLP(3, BIG).matmul_flops(1)}


def test_half_precision_leaves_the_network_alone():
    network = models.build(count.MLP(2, 8))
    InHalf(network)
    assert next(network.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Variant("shrunk", 8), "^method='shrunk'.*'narrowed'"),
        (lambda: Variant("alone", 8, "int4"), "^stored='int4'.*'4 bits'"),
        (lambda: Variant("low rank", 200).untrained(), "^rank=200.*at most 127"),
        (lambda: Variant("narrowed", 512).untrained(), "^width=512.*Widen"),
        (lambda: Variant("pruned", 1.0).untrained(), "^share=1.0.*below 1"),
        (lambda: compress.quantise(models.build(count.MLP(1, 4)), 1), "^bits=1.*at least 2"),
    ],
)
def test_mistakes_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def stored():
    """The file of the sweep, and its cells by the name of the variant."""
    content = sweeps.read("efficiency")
    names = [Variant(c["method"], c["size"], c["stored"]).name for c in content["cells"]]
    return content, dict(zip(names, content["cells"], strict=True))


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    content, cells = stored
    script = sweeps.script("efficiency")
    assert list(cells) == [variant.name for variant in script.VARIANTS]
    assert sweeps.says_where_it_comes_from(content, script.SEEDS) and len(script.SEEDS) >= 5
    assert content["recipe"] == asdict(script.RECIPE)
    assert {"head_start", "clock"} <= set(content["seconds"])
    assert "cores" in content["clock"]["machine"]
    for variant, cell in zip(script.VARIANTS, cells.values(), strict=True):
        assert len(cell["accuracy"]) == len(script.SEEDS)
        assert (cell["as_cut"] is not None) == variant.is_cut
        network = variant.untrained()
        if variant.stored != "sparse":  # how many weights of each row are cut depends on them
            assert cell["bytes"] == variant.stored_bytes(network)
            assert cell["flops"] == compress.forward_flops(network, torch.zeros(1, 40))
    timed = {(row["name"], row["batch"]) for row in content["passes"]}
    assert timed == {(name, batch) for name in cells for batch in script.BATCHES}
    assert all(0 < row["fast"] <= row["median"] <= row["slow"] for row in content["passes"])
    assert [row["seed"] for row in content["few_labels"]] == list(script.SEEDS)
    starts = [(row["seed"], row["start"]) for row in content["head_start"]]
    assert starts == [(s, start) for s in script.HEAD_SEEDS for start in ("scratch", "slice")]
    assert all(str(steps) in row for row in content["head_start"] for steps in script.FURTHER)


def test_the_script_makes_the_same_again(stored):
    """The cheapest cell, one seed of it, trained anew."""
    script = sweeps.script("efficiency")
    again = script.train(Variant("alone", 16), 0, stored[1]["alone 16"]["lr"])
    assert script.accuracy(again, 0) == pytest.approx(
        stored[1]["alone 16"]["accuracy"][0], abs=0.02
    )


def test_a_sweep_made_again_says_where_it_was_made_again(tmp_path, monkeypatch):
    script, out = sweeps.script("efficiency"), tmp_path / "efficiency.json"
    out.write_text(json.dumps({"machine": "an old one", "date": "2020-01-01", "cells": [{"a": 1}]}))
    monkeypatch.setattr(script, "PARTS", {"cells": lambda _: {"cells": [{"a": 2}]}})
    monkeypatch.setattr(sys, "argv", ["efficiency", "--out", str(out)])
    script.main()
    assert json.loads(out.read_text())["machine"] == describe_machine()
