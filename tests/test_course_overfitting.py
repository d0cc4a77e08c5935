"""Proves that notebook 04's checkers tell right from plausibly wrong, and that its stored sweep is
whole, comes from its script, and shows what the notebook says of it.
"""

import importlib.util
import json
import math
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from modelscale.exercises import Verdict, overfitting

ROOT = Path(__file__).parents[1]
STORED = ROOT / "notebooks" / "results" / "double_descent.json"


def early_stop(losses, patience):
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        elif step - best >= patience:
            break
    return best


def stopped_at(losses, patience):
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        elif step - best >= patience:
            return step
    return len(losses) - 1


def calibration_error(confidence, correct, bins, weighted=True, signed=False, power=1):
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [at == b for b in range(bins) if (at == b).any()]
    gaps = np.array([(confidence - correct)[rows].mean() for rows in filled])
    gaps = (gaps if signed else abs(gaps)) ** power
    return np.average(gaps, weights=[r.sum() for r in filled] if weighted else None)


RIGHT = {
    overfitting.check_errors_below_the_peak: [
        lambda n, p, s: (s * (1 - p / n), s / (1 - p / n)),
        lambda n, p, s: [np.float64(s * (n - p) / n), s * n / (n - p)],
        lambda n, p, s: np.array([s * (n - p) / n, s * n / (n - p)]),
    ],
    overfitting.check_early_stop: [early_stop, lambda *a: np.int64(early_stop(*a))],
    overfitting.check_repeats_until: [lambda worth, r: r * math.log(1 / worth)],
    overfitting.check_calibration_error: [calibration_error],
    overfitting.check_culprit: ["c", " C "],
}
WRONG = {
    overfitting.check_errors_below_the_peak: {
        "swapped": lambda n, p, s: (s / (1 - p / n), s * (1 - p / n)),
        "no data effect": lambda n, p, s: (s, s),
        "without the noise of new labels": lambda n, p, s: (
            s * (1 - p / n),
            s / (1 - p / n) - s,
        ),
        "first order": lambda n, p, s: (s * (1 - p / n), s * (1 + p / n)),
        "squared": lambda n, p, s: (s**2 * (1 - p / n), s**2 / (1 - p / n)),
        "n and p swapped": lambda n, p, s: (s * (1 - n / p), s / (1 - n / p)),
        "test alone": lambda n, p, s: s / (1 - p / n),
        "unbiased": lambda n, p, s: (s, s / (1 - p / n)),
    },
    overfitting.check_early_stop: {
        "where it stopped": stopped_at,
        "the last": lambda losses, patience: len(losses) - 1,
        "best of all": lambda losses, patience: int(np.argmin(losses)),
        "no patience": lambda losses, patience: early_stop(losses, 1),
        "one too patient": lambda losses, patience: early_stop(losses, patience + 1),
        "one less patient": lambda losses, patience: early_stop(losses, max(1, patience - 1)),
        "counted from 1": lambda losses, patience: early_stop(losses, patience) + 1,
        "the loss": lambda losses, patience: losses[early_stop(losses, patience)],
    },
    overfitting.check_repeats_until: {
        "sign": lambda worth, r: r * math.log(worth),
        "epochs": lambda worth, r: 1 - r * math.log(worth),
        "average worth": lambda worth, r: -r * math.log(1 - worth),
        "linear": lambda worth, r: r * (1 - worth),
        "base 2": lambda worth, r: -r * math.log2(worth),
        "base 10": lambda worth, r: -r * math.log10(worth),
        "rate": lambda worth, r: -math.log(worth) / r,
    },
    overfitting.check_calibration_error: {
        "bins alike": lambda *a: calibration_error(*a, weighted=False),
        "signed": lambda *a: calibration_error(*a, signed=True),
        "squared": lambda *a: calibration_error(*a, power=2),
        "one bin": lambda confidence, correct, bins: calibration_error(confidence, correct, 1),
        "ten bins": lambda confidence, correct, bins: calibration_error(confidence, correct, 20),
        "accuracy": lambda confidence, correct, bins: correct.mean(),
        "each sample": lambda confidence, correct, bins: abs(confidence - correct).mean(),
        "sum": lambda *a: calibration_error(*a) * len(a[0]),
    },
    overfitting.check_culprit: dict(zip("abd", "abd", strict=True)),
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
    written = {getattr(overfitting, name) for name in dir(overfitting) if "check_" in name}
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


@pytest.fixture(scope="module")
def stored():
    """The file of the sweep, and its cells by samples, noise and width."""
    content = json.loads(STORED.read_text())
    return content, {(c["n"], c["noise"], c["width"]): c for c in content["cells"]}


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    content, cells = stored
    script = load_script()
    assert list(cells) == [(n, noise, w) for (n, noise), w in product(script.TASKS, script.WIDTHS)]
    assert content["seeds"] == list(script.SEEDS) and len(script.SEEDS) >= 3
    assert content["seconds"] > 0 and "cores" in content["machine"]
    assert date.fromisoformat(content["date"]).year >= 2025
    for (n, _, width), cell in cells.items():
        assert cell["params"] == 40 * width + width**2 + 10 * width + 2 * width + 10
        assert cell["step"][-1] == content["recipes"][str(n)]["steps"] == 500 * n // 100
        for what in ("test_error", "train_error", "test_loss"):
            assert np.shape(cell[what]) == (len(script.SEEDS), script.RECORDS)


def test_the_script_makes_the_same_again(stored):
    """The first record of the cheapest cell, trained anew: 50 epochs of 500 samples."""
    script = load_script()
    recipe = script.recipe(500)
    networks = [script.models.build(script.count.MLP(2, 8), seed) for seed in script.SEEDS]
    stop = recipe.steps // script.RECORDS
    again = script.fit_many(
        networks,
        script.task(500, 0.15),
        recipe,
        script.SEEDS,
        callback=lambda step, _: step >= stop,
    )
    cell = stored[1][500, 0.15, 8]
    for history, error, loss in zip(again, cell["test_error"], cell["test_loss"], strict=True):
        assert 1 - history.accuracy[0] == pytest.approx(error[0], abs=0.02)
        assert history.test_loss[0] == pytest.approx(loss[0], rel=0.02)


@pytest.mark.parametrize("n", [500, 2000, 4000])
def test_the_stored_sweep_peaks_where_networks_first_fit_their_samples(stored, n):
    widths = sorted({width for _, _, width in stored[1]})
    error, train = (
        np.array([np.median([run[-1] for run in stored[1][n, 0.15, w][what]]) for w in widths])
        for what in ("test_error", "train_error")
    )
    first, top = int((train < 0.05).argmax()), 3 + int(error[3:].argmax())
    assert abs(top - first) <= 1
    assert error[top] > max(error[:top].min(), error[-1]) + 0.02


def load_script():
    path = ROOT / "experiments" / "double_descent.py"
    spec = importlib.util.spec_from_file_location("double_descent", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
