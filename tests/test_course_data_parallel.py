"""Proves that notebook 08's checkers tell right from plausibly wrong, that each suspect of its
break-it lab shows the symptom of its own fault and of no other, and that its stored sweep is whole,
comes from its script, and shows what the notebook says of it.
"""

import importlib.util
import json
import math
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from modelscale import count, data, parallel
from modelscale.exercises import Verdict, data_parallel
from modelscale.tuning import noise_scale

ROOT = Path(__file__).parents[1]
STORED = ROOT / "notebooks" / "results" / "critical_batch.json"

STAGES = [
    lambda ranks: 16,
    lambda ranks: 4 + 12 / ranks,
    lambda ranks: 2 + 14 / ranks,
    lambda ranks: 16 / ranks,
]


def smallest_stage(n, ranks, memory, sizes=STAGES):
    return next((s for s, size in enumerate(sizes) if n * size(ranks) <= memory), None)


ANSWER = {"a": "scale", "b": "order", "c": "means", "d": "average"}
RIGHT = {
    data_parallel.check_ring_bytes: [
        lambda n, p: 2 * (p - 1) * n / p,
        lambda n, p: np.float64(2 * n - 2 * n / p),
    ],
    data_parallel.check_loss_scale: [lambda mine, n, p: mine * p / n],
    data_parallel.check_smallest_stage: [
        smallest_stage,
        lambda *a: None if smallest_stage(*a) is None else np.int64(smallest_stage(*a)),
    ],
    data_parallel.check_suspects: [ANSWER, dict(reversed(ANSWER.items()))],
}
WRONG = {
    data_parallel.check_ring_bytes: {
        "whole list in each step": lambda n, p: 2 * (p - 1) * n,
        "first half alone": lambda n, p: (p - 1) * n / p,
        "p steps": lambda n, p: 2 * n,
        "all ranks together": lambda n, p: 2 * (p - 1) * n,
        "one message": lambda n, p: n / p,
        "everybody to everybody": lambda n, p: (p - 1) * n,
    },
    data_parallel.check_loss_scale: {
        "nothing": lambda mine, n, p: 1.0,
        "forgets the average": lambda mine, n, p: mine / n,
        "upside down": lambda mine, n, p: n / (mine * p),
        "divides by the ranks": lambda mine, n, p: mine / (n * p),
        "forgets the mean": lambda mine, n, p: p / n,
    },
    data_parallel.check_smallest_stage: {
        "the largest": lambda n, p, m: 3 if n * 16 / p <= m else None,
        "never none": lambda n, p, m: (
            3 if smallest_stage(n, p, m) is None else smallest_stage(n, p, m)
        ),
        "in float32": lambda *a: smallest_stage(
            *a, [lambda p: 16, lambda p: 8 + 8 / p, lambda p: 4 + 12 / p, lambda p: 16 / p]
        ),
        "counted from 1": lambda *a: (smallest_stage(*a) or 0) + 1,
        "all memory together": lambda n, p, m: 0 if n * 16 <= m * p else None,
        "true and false": lambda *a: bool(smallest_stage(*a)),
        "stages 0 and 3": lambda n, p, m: 0 if 16 * n <= m else 3 if 16 * n / p <= m else None,
    },
    data_parallel.check_suspects: {
        "two swapped": ANSWER | {"a": "order", "b": "scale"},
        "all alike": dict.fromkeys("abcd", "average"),
        "one missing": {k: v for k, v in ANSWER.items() if k != "d"},
        "unknown": ANSWER | {"a": "the learning rate"},
        "a list": list(ANSWER.values()),
    },
}


def crashes(*_):
    raise KeyError("no such thing")


ALWAYS_WRONG = [
    crashes,
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
    written = {
        getattr(data_parallel, name) for name in dir(data_parallel) if name.startswith("check_")
    }
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


def test_an_unsolved_stub_is_not_yet():
    for checker in list(RIGHT)[:3]:
        verdict = checker(lambda *_: ...)
        assert not verdict.passed and verdict.text.startswith("Not yet: ")


def refuses(checker, answer):
    verdict = checker(answer)
    assert not verdict.passed
    reason, hint = verdict.text.removeprefix("Not yet: ").split(" Hint: ")
    assert len(reason) > 5 and len(hint) > 15


@pytest.fixture(scope="module")
def symptoms():
    """What both ranks of every suspect measured, as the notebook shows them."""
    parallel.warm_up("torch._dynamo")
    task = data.signals(101, n_test=10)
    args = count.MLP(2, 32), task.x_train, task.y_train, 32
    return {s: parallel.run(data_parallel.symptoms, s, *args) for s in data_parallel.SUSPECTS}


def test_each_suspect_shows_its_own_symptom(symptoms):
    for suspect, ranks in symptoms.items():
        fault = ANSWER[suspect]
        for found in ranks:
            assert (found["apart"] > 0.01) == (fault == "average")
            assert found["repeated"] == (fault == "order")
            assert (abs(found["gradient"] - 2) < 1e-4) == (fault == "scale")
            if fault in ("order", "means"):
                assert found["even"] < 1e-6 and found["gradient"] == pytest.approx(1, abs=1e-4)
            assert (found["uneven"] > 0.01) == (fault != "order")


@pytest.fixture(scope="module")
def stored():
    """The file of the sweep, and the steps of its cells by optimizer, batch and rate."""
    content = json.loads(STORED.read_text())
    return content, {(c["optimizer"], c["batch"], c["lr"]): c["steps"] for c in content["cells"]}


@pytest.fixture(scope="module")
def script():
    """The script that made it."""
    path = ROOT / "experiments" / "critical_batch.py"
    spec = importlib.util.spec_from_file_location("critical_batch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored, script):
    content, cells = stored
    wanted = [(o, b, lr) for o, b in product(script.LRS, script.STEPS) for lr in script.LRS[o]]
    assert list(cells) == wanted
    assert content["seeds"] == list(script.SEEDS) and len(script.SEEDS) >= 3
    assert content["target"] == script.TARGET and content["seconds"] > 0
    assert "cores" in content["machine"] and date.fromisoformat(content["date"]).year >= 2025
    for (_, batch, _), steps in cells.items():
        assert len(steps) == len(script.SEEDS)
        assert all(s is None or 0 < s <= script.STEPS[batch] for s in steps)


def test_the_script_makes_the_same_again(stored, script):
    """One cell of the cheapest kind: a batch of 256, three seeds, 350 steps."""
    (cell,) = script.sweep("sgd", 256, [2.0**-2])
    assert cell["steps"] == pytest.approx(stored[1]["sgd", 256, 2.0**-2], rel=0.1, abs=2)


def test_steps_are_read_off_between_two_records(script):
    history = script.fit_many.__globals__["History"]()
    history.step, history.test_loss = [10, 20, 30], [2.0, 1.5, 1.3]
    assert script.steps_to(history, 1.4) == 25 and script.steps_to(history, 2.5) == 10
    assert script.steps_to(history, 1.0) is None
    history.test_loss = [math.nan, 1.5, 1.3]
    assert script.steps_to(history, 1.6) == 20


def test_the_stored_sweep_shows_a_critical_batch_and_both_rules(stored):
    _, cells = stored
    batches = sorted({batch for _, batch, _ in cells})

    def steps(optimizer, batch, lr):
        runs = cells.get((optimizer, batch, lr), [None])
        return float(np.median([math.inf if s is None else s for s in runs]))

    for optimizer, factor, other in (("sgd", 1.0, 0.5), ("adamw", 0.5, 1.0)):
        lrs = sorted({lr for o, _, lr in cells if o == optimizer})
        fewest = {b: min(steps(optimizer, b, lr) for lr in lrs) for b in batches}
        _, critical = noise_scale.fit_critical(batches, list(fewest.values()))
        assert 100 < critical < 400
        base = min(lrs, key=lambda lr, o=optimizer: steps(o, 16, lr))
        for batch in (64, 256):
            follows, misses = (
                steps(optimizer, batch, base * (batch / 16) ** power) / fewest[batch]
                for power in (factor, other)
            )
            assert follows < 1.15 < misses
        assert steps(optimizer, 1024, base * 64**factor) > 1.15 * fewest[1024]
