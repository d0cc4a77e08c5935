"""Proves that notebook 07's checkers tell right from plausibly wrong, that every variant costs and
computes what its name says, and that its stored sweep is whole, comes from its script, and shows
what the notebook says of it.
"""

import importlib.util
import json
import math
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from modelscale import compress, count, models
from modelscale.compress.variants import BIG, InHalf, Variant
from modelscale.exercises import Verdict, efficiency
from modelscale.widgets.efficiency import frontier

ROOT = Path(__file__).parents[1]
STORED = ROOT / "notebooks" / "results" / "efficiency.json"


def to_integers(weights, bits, most=None, rounding=np.round):
    step = np.abs(weights).max() / (most or 2 ** (bits - 1) - 1)
    return rounding(weights / step), step


def beaten(costs, values, i, strict=False):
    rows = [(c, v) for j, (c, v) in enumerate(zip(costs, values, strict=True)) if j != i]
    if strict:
        return any(c < costs[i] and v > values[i] for c, v in rows)
    at_least = [(c, v) for c, v in rows if c <= costs[i] and v >= values[i]]
    return any((c, v) != (costs[i], values[i]) for c, v in at_least)


def unbeaten(costs, values, **how):
    return [i for i in range(len(costs)) if not beaten(costs, values, i, **how)]


RIGHT = {
    efficiency.check_to_integers: [
        to_integers,
        lambda w, b: list(to_integers(w, b)),
        lambda w, b: (to_integers(w, b)[0].astype(int), np.float32(to_integers(w, b)[1]).item()),
    ],
    efficiency.check_largest_rank: [
        lambda a, b: (a * b - 1) // (a + b),
        lambda a, b: math.ceil(a * b / (a + b)) - 1,
        lambda a, b: max(r for r in range(5000) if r * (a + b) < a * b),
    ],
    efficiency.check_cache_bytes: [
        lambda layers, heads, q, b, t, size: 2 * layers * heads * q * b * t * size
    ],
    efficiency.check_frontier: [
        unbeaten,
        lambda c, v: set(unbeaten(c, v)),
        lambda c, v: unbeaten(c, v)[::-1],
        lambda c, v: np.flatnonzero(frontier(c, v)),
    ],
    efficiency.check_culprit: ["b", " B "],
}
WRONG = {
    efficiency.check_to_integers: {
        "two to the bits": lambda w, b: to_integers(w, b, most=2**b),
        "unsigned": lambda w, b: to_integers(w, b, most=2**b - 1),
        "one too many": lambda w, b: to_integers(w, b, most=2 ** (b - 1)),
        "truncated": lambda w, b: to_integers(w, b, rounding=np.trunc),
        "floor": lambda w, b: to_integers(w, b, rounding=np.floor),
        "values": lambda w, b: (np.multiply(*to_integers(w, b)), to_integers(w, b)[1]),
        "swapped": lambda w, b: to_integers(w, b)[::-1],
        "largest not in size": lambda w, b: (
            np.round(w / (w.max() / (2 ** (b - 1) - 1))),
            w.max() / (2 ** (b - 1) - 1),
        ),
        "range": lambda w, b: (
            np.round((w - w.min()) / ((w.max() - w.min()) / (2**b - 1))),
            (w.max() - w.min()) / (2**b - 1),
        ),
        "numbers alone": lambda w, b: to_integers(w, b)[0],
    },
    efficiency.check_largest_rank: {
        "half": lambda a, b: min(a, b) // 2,
        "full": lambda a, b: min(a, b),
        "where it is even": lambda a, b: a * b // (a + b),
        "rounded": lambda a, b: round(a * b / (a + b)),
        "not whole": lambda a, b: a * b / (a + b),
        "mean": lambda a, b: a * b // (2 * (a + b)),
        "root": lambda a, b: int(math.sqrt(a * b)),
    },
    efficiency.check_cache_bytes: {
        "keys alone": lambda layers, heads, q, b, t, size: layers * heads * q * b * t * size,
        "one sequence": lambda layers, heads, q, b, t, size: 2 * layers * heads * q * t * size,
        "one layer": lambda layers, heads, q, b, t, size: 2 * heads * q * b * t * size,
        "numbers": lambda layers, heads, q, b, t, size: 2 * layers * heads * q * b * t,
        "scores": lambda layers, heads, q, b, t, size: layers * heads * b * t * t * size,
        "bits": lambda layers, heads, q, b, t, size: 16 * layers * heads * q * b * t * size,
        "MB": lambda layers, heads, q, b, t, size: 2e-6 * layers * heads * q * b * t * size,
    },
    efficiency.check_frontier: {
        "strictly beaten": lambda c, v: unbeaten(c, v, strict=True),
        "best alone": lambda c, v: [int(np.argmax(v))],
        "cheapest and best": lambda c, v: sorted({int(np.argmin(c)), int(np.argmax(v))}),
        "all": lambda c, v: list(range(len(c))),
        "mask": lambda c, v: frontier(c, v),
        "costs": lambda c, v: [c[i] for i in unbeaten(c, v)],
        "twins beat each other": lambda c, v: [
            i
            for i in range(len(c))
            if not any(j != i and c[j] <= c[i] and v[j] >= v[i] for j in range(len(c)))
        ],
        "in the order given": lambda c, v: [i for i in range(len(v)) if v[i] >= max(v[: i + 1])],
        "upside down": lambda c, v: unbeaten([-x for x in c], v),
    },
    efficiency.check_culprit: dict(zip("ac", "ac", strict=True)),
}


def crashes(*_):
    raise KeyError("no such thing")


ALWAYS_WRONG = [
    crashes,
    lambda *_: None,
    lambda *_: "42",
    lambda *_: float("nan"),
    lambda *_: (1.0, None),
    lambda: 1,
    lambda *_: [],
    7,
    "x",
]


def cases(answers):
    return [
        pytest.param(checker, answer, id=f"{checker.__name__}-{name}")
        for checker, given in answers.items()
        for name, answer in (given.items() if isinstance(given, dict) else enumerate(given))
    ]


def test_no_checker_is_forgotten():
    written = {getattr(efficiency, name) for name in dir(efficiency) if "check_" in name}
    assert written == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize(("checker", "answer"), cases(RIGHT))
def test_a_right_answer_passes(checker, answer):
    assert checker(answer) == Verdict(True, "Correct.")


@pytest.mark.parametrize(("checker", "answer"), cases(WRONG))
def test_a_plausible_wrong_answer_gets_a_reason_and_a_hint(checker, answer):
    refuses(checker, answer)


@pytest.mark.parametrize("checker", RIGHT)
def test_an_answer_of_another_kind_gets_a_reason_and_a_hint(checker):
    for answer in ALWAYS_WRONG:
        refuses(checker, answer)
    for stub in (..., None):
        assert repr(checker(stub)).startswith("Not yet: replace the dots. Hint: ")


def refuses(checker, answer):
    verdict = checker(answer)
    assert not verdict.passed
    reason, hint = verdict.text.removeprefix("Not yet: ").split(" Hint: ")
    assert len(reason) > 5 and len(hint) > 15


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
    content = json.loads(STORED.read_text())
    names = [Variant(c["method"], c["size"], c["stored"]).name for c in content["cells"]]
    return content, dict(zip(names, content["cells"], strict=True))


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    content, cells = stored
    script = load_script()
    assert list(cells) == [variant.name for variant in script.VARIANTS]
    assert content["seeds"] == list(script.SEEDS) and len(script.SEEDS) >= 5
    assert content["recipe"] == asdict(script.RECIPE)
    assert min(content["seconds"].values()) > 0 and {"head_start", "clock"} <= set(
        content["seconds"]
    )
    assert "cores" in content["machine"] and "cores" in content["clock"]["machine"]
    assert date.fromisoformat(content["date"]).year >= 2025
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
    script = load_script()
    again = script.train(Variant("alone", 16), 0, stored[1]["alone 16"]["lr"])
    assert script.accuracy(again, 0) == pytest.approx(
        stored[1]["alone 16"]["accuracy"][0], abs=0.02
    )


def load_script():
    path = ROOT / "experiments" / "efficiency.py"
    spec = importlib.util.spec_from_file_location("efficiency", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
