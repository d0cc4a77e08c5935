"""Proves that notebook 08's checkers tell right from plausibly wrong, and that each suspect of its
break-it lab shows the symptom of its own fault and of no other.
"""

import numpy as np
import pytest

from modelscale import count, data, parallel
from modelscale.exercises import Verdict, data_parallel

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
