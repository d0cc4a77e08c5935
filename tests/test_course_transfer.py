"""Proves that notebook 05's checkers tell right from plausibly wrong, and that its three stored
results are whole, come from their scripts and can be made again.
"""

import importlib.util
import json
import math
import sys
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from modelscale.exercises import Verdict, transfer_learning

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "notebooks" / "results"


def worth(labels, scratch, reached, rising=True, log=True, beyond=math.nan):
    scratch = np.maximum.accumulate(scratch) if rising else np.array(scratch)
    found = np.interp(reached, scratch, np.log(labels) if log else labels)
    if not scratch.min() <= reached <= scratch.max():
        return beyond
    return float(np.exp(found) if log else found)


RIGHT = {
    transfer_learning.check_lora_params: [
        lambda m, n, r: r * (m + n),
        lambda m, n, r: np.int64(m * r + r * n),
    ],
    transfer_learning.check_probe_flops: [lambda b, h, n, s, k: n * b + 2 * s * k * h],
    transfer_learning.check_worth: [worth, lambda *a: np.float64(worth(*a))],
    transfer_learning.check_even_point: [lambda k, a, b, n: (k * n**b) ** (1 / (1 - a))],
    transfer_learning.check_culprit: ["c", " C "],
}
WRONG = {
    transfer_learning.check_lora_params: {
        "A alone": lambda m, n, r: r * m,
        "B alone": lambda m, n, r: r * n,
        "the product": lambda m, n, r: m * n,
        "with W": lambda m, n, r: m * n + r * (m + n),
        "square": lambda m, n, r: 2 * r * m,
        "with a middle matrix": lambda m, n, r: r * (m + n + r),
        "with a bias": lambda m, n, r: r * (m + n) + n,
        "a share": lambda m, n, r: r * (m + n) / (m * n),
    },
    transfer_learning.check_probe_flops: {
        "features in every step": lambda b, h, n, s, k: s * k * (b + 2 * h),
        "forward alone": lambda b, h, n, s, k: n * b + s * k * h,
        "a gradient for the features": lambda b, h, n, s, k: n * b + 3 * s * k * h,
        "the body trained": lambda b, h, n, s, k: 3 * n * b + 2 * s * k * h,
        "one step": lambda b, h, n, s, k: n * b + 2 * k * h,
        "samples for steps": lambda b, h, n, s, k: n * (b + 2 * h),
        "no features": lambda b, h, n, s, k: 2 * s * k * h,
        "the head once more on the features": lambda b, h, n, s, k: n * (b + h) + 2 * s * k * h,
    },
    transfer_learning.check_worth: {
        "linear in the labels": lambda *a: worth(*a, log=False),
        "not made to rise": lambda *a: worth(*a, rising=False),
        "zero beyond": lambda *a: worth(*a, beyond=0.0),
        "the last beyond": lambda labels, *a: worth(labels, *a, beyond=labels[-1]),
        "the logarithm": lambda *a: math.log(worth(*a)),
        "the nearest": lambda labels, scratch, reached: labels[
            int(np.abs(np.array(scratch) - reached).argmin())
        ],
        "the next": lambda labels, scratch, reached: labels[
            min(int(np.searchsorted(scratch, reached)), len(labels) - 1)
        ],
        "always unknown": lambda *a: math.nan,
    },
    transfer_learning.check_even_point: {
        "the gift at one": lambda k, a, b, n: k * n**b,
        "sign": lambda k, a, b, n: (k * n**b) ** (1 / (1 + a)),
        "inverse": lambda k, a, b, n: (k * n**b) ** (a - 1),
        "not inverted": lambda k, a, b, n: (k * n**b) ** (1 - a),
        "by alpha": lambda k, a, b, n: (k * n**b) ** (1 / a) if a else k * n**b * 2,
        "k outside": lambda k, a, b, n: k * n ** (b / (1 - a)),
        "beta for alpha": lambda k, a, b, n: (k * n**a) ** (1 / (1 - b)),
        "no size": lambda k, a, b, n: k ** (1 / (1 - a)),
    },
    transfer_learning.check_culprit: dict(zip("abde", "abde", strict=True)),
}


def crashes(*_):
    raise KeyError("no such thing")


OTHERS = [crashes, lambda *_: None, lambda *_: "42", lambda: 1, lambda *_: [1], 7, "x"]


def test_no_checker_is_forgotten():
    names = [name for name in dir(transfer_learning) if name.startswith("check_")]
    assert {getattr(transfer_learning, name) for name in names} == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("checker", RIGHT)
def test_right_answers_pass_and_wrong_ones_get_a_reason_and_a_hint(checker):
    for answer in RIGHT[checker]:
        assert checker(answer) == Verdict(True, "Correct.")
    for name, answer in [*WRONG[checker].items(), *enumerate(OTHERS)]:
        verdict = checker(answer)
        assert not verdict.passed, name
        reason, hint = verdict.text.removeprefix("Not yet: ").split(" Hint: ")
        assert len(reason) > 5 and len(hint) > 15
    for stub in (..., None):
        assert repr(checker(stub)).startswith("Not yet: replace the dots. Hint: ")


def test_each_wrong_letter_is_refuted_in_its_own_words():
    words = {transfer_learning.check_culprit(letter).text for letter in "abde"}
    assert len(words) == 4


@pytest.fixture(scope="module")
def scripts():
    """The two scripts behind the sweeps of networks; the second imports the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "experiments"))
        yield {name: load_script(name) for name in ("transfer_ladder", "transfer_sources")}
        sys.modules.pop("transfer_ladder", None)


@pytest.fixture(scope="module", params=["transfer_ladder", "transfer_sources"])
def stored(request, scripts):
    """A stored sweep and the script that made it."""
    return json.loads((RESULTS / f"{request.param}.json").read_text()), scripts[request.param]


def test_the_sweeps_say_where_they_come_from(stored):
    content, script = stored
    for name in ("SEEDS", "TUNING_SEEDS", "LRS"):
        assert tuple(content[name.lower()]) == getattr(script, name)
    assert len(script.SEEDS) == 5 and not set(script.SEEDS) & set(script.TUNING_SEEDS)
    assert content["seconds"] > 0 and "cores" in content["machine"]
    assert date.fromisoformat(content["date"]).year >= 2025


def test_each_rate_is_the_best_of_its_tuning_draws(stored):
    content, script = stored
    for cell in content["cells"]:
        assert len(cell["validation"]) == len(script.LRS)
        best = cell["validation"][script.LRS.index(cell["lr"])]
        assert best == max(cell["validation"])
        assert len(cell["test"]) == 5 and 0 < min(cell["test"]) <= max(cell["test"]) < 1


def test_the_ladder_is_whole(scripts):
    script = scripts["transfer_ladder"]
    cells = json.loads((RESULTS / "transfer_ladder.json").read_text())["cells"]
    assert [tuple(cell[key] for key in script.KEYS) for cell in cells] == script.wanted()
    assert {cell["labels"] for cell in cells} == {1, 2, 5, 10, 20, 50, 100}


def test_the_sources_are_whole(scripts):
    script = scripts["transfer_sources"]
    content = json.loads((RESULTS / "transfer_sources.json").read_text())
    places = [(c["source"], c["labels"], c["method"]) for c in content["cells"]]
    assert places == list(product(script.SOURCES, script.LABELS, ("freeze 3", "fine-tune")))
    assert len(content["forgetting"]) == 13
    assert all(np.shape(f["target_source"]) == (5, 2) for f in content["forgetting"])


def test_a_run_that_was_cut_off_keeps_what_it_has(scripts, tmp_path):
    script, out = scripts["transfer_ladder"], tmp_path / "ladder.json"
    content = json.loads((RESULTS / "transfer_ladder.json").read_text())
    out.write_text(json.dumps(content | {"cells": content["cells"][:3]}))
    known, seconds, machine = script.finished(out)
    assert list(known) == script.wanted()[:3]
    assert (seconds, machine) == (content["seconds"], content["machine"])
    out.write_text(json.dumps(content | {"lrs": [1e-3]}))  # other settings: nothing is kept
    assert script.finished(out) == ({}, 0.0, "")


@pytest.mark.parametrize("target", ["digits", "signals"])
def test_the_script_makes_the_control_again(scripts, target):
    script = scripts["transfer_ladder"]
    place = {"target": target, "width": 24 if target == "signals" else 8}
    place |= {"labels": 20, "method": "random features"}
    cells = json.loads((RESULTS / "transfer_ladder.json").read_text())["cells"]
    (cell,) = [c for c in cells if place.items() <= c.items()]
    for seed in (0, 1):
        again, flops = script.accuracy(*place.values(), cell["lr"], seed)
        assert again == pytest.approx(cell["test"][seed], abs=0.02)  # processors round otherwise
        assert flops == cell["flops"]


def test_a_tuning_draw_is_judged_by_samples_it_did_not_draw(scripts):
    script = scripts["transfer_ladder"]
    pool = script.task("signals")
    judged = script.held_out(pool, pool.subset(50, 100), 50, 100)
    drawn = {tuple(row) for row in judged.x_train.tolist()}
    assert len(drawn) == 50 and len(judged.y_test) == 1000
    assert not drawn & {tuple(row) for row in judged.x_test.tolist()}


def test_the_result_of_the_encoder_is_whole():
    script, content = load_script("field_encoder"), read("field_encoder")
    places = [(c["features"], c["labels"]) for c in content["cells"]]
    kinds = ("pretrained", "random weights", "words", "letters")
    assert places == list(product(kinds, script.LABELS))
    assert all(len(c["accuracy"]) == 5 for c in content["cells"])
    assert content["weights_sha256"] == script.encoder.HASHES["model.safetensors"]
    assert len(content["classes"]) == 8 and content["texts"] > 800


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def load_script(name):
    path = ROOT / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    script = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, script)
    spec.loader.exec_module(script)
    return script
