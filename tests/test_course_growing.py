"""Proves that notebook 06's checkers tell right from plausibly wrong, and that its stored sweeps
are whole, come from their scripts, and spend equal FLOPs.
"""

import importlib.util
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from modelscale.exercises import Verdict, growing_models

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "notebooks" / "results"


def one_deeper(layers, at=1, weight=np.eye, bias=0.0):
    n = layers[at - 1][0].shape[0] if at else layers[0][0].shape[1]
    return [*layers[:at], (weight(n), np.full(n, bias)), *layers[at:]]


def turned(n):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))[0]


RIGHT = {
    growing_models.check_shares: [
        lambda units: [1 / units.count(unit) for unit in units],
        lambda units: 1 / np.bincount(units)[units],
    ],
    growing_models.check_steps_left: [
        lambda budget, n, small, big: max(0, (budget - n * small) // big),
    ],
    growing_models.check_deepened: [
        one_deeper,
        lambda layers: one_deeper(layers, at=len(layers) - 1),
        lambda layers: tuple(one_deeper(layers)),
    ],
    growing_models.check_carried: [
        lambda mean, square, c: (mean / c, square / c**2),
        lambda mean, square, c: np.array([mean / c, square / c**2]),
    ],
    growing_models.check_colleague: ["b", " B "],
}
WRONG = {
    growing_models.check_shares: {
        "halves": lambda units: [0.5] * len(units),
        "nothing divided": lambda units: [1.0] * len(units),
        "all alike": lambda units: [1 / len(units)] * len(units),
        "the first keeps all": lambda units: [
            float(u not in units[:i]) for i, u in enumerate(units)
        ],
        "copies counted without the first": lambda units: [
            1 / max(1, units.count(u) - 1) for u in units
        ],
        "one for each old": lambda units: [1 / units.count(u) for u in sorted(set(units))],
        "counts": lambda units: [units.count(u) for u in units],
    },
    growing_models.check_steps_left: {
        "the small one for free": lambda budget, n, small, big: budget // big,
        "not whole": lambda budget, n, small, big: max(0, (budget - n * small) / big),
        "rounded up": lambda budget, n, small, big: max(0, -(-(budget - n * small) // big)),
        "below nothing": lambda budget, n, small, big: (budget - n * small) // big,
        "steps subtracted": lambda budget, n, small, big: max(0, budget // big - n),
        "one small step": lambda budget, n, small, big: (budget - small) // big,
    },
    growing_models.check_deepened: {
        "before the first ReLU": lambda layers: one_deeper(layers, at=0),
        "zeros": lambda layers: one_deeper(layers, weight=lambda n: np.zeros((n, n))),
        "a rotation": lambda layers: one_deeper(layers, weight=turned),
        "a bias": lambda layers: one_deeper(layers, bias=1.0),
        "behind the head": lambda layers: one_deeper(layers, at=len(layers)),
        "as deep as before": lambda layers: list(layers),
        "a layer twice": lambda layers: [layers[0], layers[0], *layers[1:]],
        "halved and doubled": lambda layers: one_deeper(layers, weight=lambda n: 2 * np.eye(n)),
    },
    growing_models.check_carried: {
        "as they were": lambda mean, square, c: (mean, square),
        "both by c": lambda mean, square, c: (mean / c, square / c),
        "mean alone": lambda mean, square, c: (mean / c, square),
        "times c": lambda mean, square, c: (mean * c, square * c**2),
        "swapped": lambda mean, square, c: (square / c**2, mean / c),
        "new": lambda mean, square, c: (0.0, 0.0),
        "mean only given": lambda mean, square, c: mean / c,
    },
    growing_models.check_colleague: dict(zip("acd", "acd", strict=True)),
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
    lambda *_: [1],
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
    written = {getattr(growing_models, name) for name in dir(growing_models) if "check_" in name}
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


def stored(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["growing", "growing_gpt", "growing_steps"])
def test_a_stored_sweep_says_where_it_comes_from(name):
    content = stored(name)
    assert content["seconds"] > 0 and "cores" in content["machine"]
    assert date.fromisoformat(content["date"]).year >= 2025
    assert content["seeds"] == list(script(name).SEEDS) and len(content["seeds"]) >= 3


def test_every_run_of_the_budgets_spends_all_of_its_budget_and_no_more():
    sweep = script("growing")
    runs = stored("growing")["runs"]
    wanted = [(s, b, *m) for s in sweep.SAMPLES for b in sweep.BUDGETS[s] for m in sweep.methods()]
    keys = [(r["samples"], r["budget_flops"], r["method"], r["grown_at"]) for r in runs]
    assert keys[:: len(sweep.SEEDS)] == [(s, sweep.budget(b), *m) for s, b, *m in wanted]
    for run in runs:
        spent = run["curve"]["flops"][-1] / run["budget_flops"]
        assert abs(spent - 1) < 0.02
        assert (run["paid_before_flops"] > 0) == (run["grown_at"] is not None)
        assert run["curve"]["loss"][-1] == run["loss"]


def test_every_run_of_the_steps_is_whole_and_spends_the_same():
    sweep, runs = script("growing_steps"), stored("growing_steps")["runs"]
    keys = [(r["budget_flops"], r["start"], r["kind"]) for r in runs][:: len(sweep.SEEDS)]
    budgets = list(dict.fromkeys(key[0] for key in keys))
    assert budgets == [n * sweep.step_flops(sweep.BIG) for n in sweep.BUDGETS]
    kinds = {True: list(sweep.KINDS), False: ["from scratch"]}
    assert keys == [
        (b, start, kind)
        for b in budgets
        for start in sweep.STARTS
        for kind in kinds[start < sweep.BIG.width]
    ]
    for run in runs:
        doublings = len(run["grown_at_flops"])
        assert run["start"] * 2**doublings == sweep.BIG.width
        assert len(run["flops"]) == len(run["loss"]) == 6 * (doublings + 1)
        assert abs(run["flops"][-1] / run["budget_flops"] - 1) < 0.02
        assert set(run["grown_at_flops"]) <= set(run["flops"])


def test_every_gpt_is_there_and_spends_its_whole_budget():
    sweep, content = script("growing_gpt"), stored("growing_gpt")
    keys = [(r["budget_flops"], r["method"], r["seed"]) for r in content["runs"]]
    assert keys == [(b, m, s) for b in sweep.BUDGETS for m in sweep.METHODS for s in sweep.SEEDS]
    big = (sweep.BIG.params, True)
    ends = {"shallow": (sweep.SHALLOW.params, False), "thin": (sweep.THIN.params, False)}
    ends |= {"scratch": (sweep.BIG.params, False)}
    for run in content["runs"]:
        assert abs(run["curve"]["flops"][-1] / run["budget_flops"] - 1) < 0.02
        grew = run["grown_at_flops"] > 0
        assert (run["params"], grew) == ends.get(run["method"], big)
        assert run["lr"] == content["lrs"][int(np.argmin(run["tried"]))]


def test_the_script_of_the_steps_makes_the_same_again():
    """The cheapest cell, all five seeds, on the stored data set."""
    sweep = script("growing_steps")
    again = sweep.grow(sweep.task(), sweep.BUDGETS[0], 32, "fresh neurons")
    first = sweep.step_flops(sweep.BIG) * sweep.BUDGETS[0], 32, "fresh neurons"
    known = [
        r
        for r in stored("growing_steps")["runs"]
        if (r["budget_flops"], r["start"], r["kind"]) == first
    ]
    for new, old in zip(again, known, strict=True):
        assert new["grown_at_flops"] == old["grown_at_flops"]
        assert new["loss"] == pytest.approx(old["loss"], abs=0.05)
