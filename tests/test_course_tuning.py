"""The stored sweeps show what notebook 03 says of them, and its checkers know right from wrong."""

import importlib.util
import math
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from modelscale import count, data, tuning
from modelscale.exercises import Verdict, tuning_at_scale
from modelscale.widgets.tuning import Sweep

ROOT = Path(__file__).parents[1]
SPLITS = ("loss", "test_loss")


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def drifts(sweep, optimizer, kind, split):
    """Octaves per 4x width, one for each seed."""
    best = [
        [
            tuning.best_lr(sweep.lrs(optimizer, kind, width), run)
            for run in sweep.runs(optimizer, kind, width, split)
        ]
        for width in sweep.widths
    ]
    return tuning.octaves_per_4x(sweep.widths, np.array(best).T)


@pytest.fixture(scope="module", params=["tuning_mlp", "tuning_gpt"])
def stored(request):
    """A stored sweep and the script that made it."""
    path = ROOT / "notebooks" / "results" / f"{request.param}.json"
    return Sweep(path), load_script(request.param)


def test_the_sweeps_are_whole_and_say_where_they_come_from(stored):
    sweep, script = stored
    assert sweep.widths == list(script.WIDTHS)
    assert sweep.about["seeds"] == list(script.SEEDS) == [0, 1, 2]
    assert sweep.about["seconds"] > 0 and "cores" in sweep.about["machine"]
    assert date.fromisoformat(sweep.about["date"]).year >= 2025
    assert type(script.BASE)(**sweep.base) == script.BASE
    for place in product(sweep.optimizers, ("standard", "mup"), sweep.widths):
        assert sweep.lrs(*place) == list(script.LRS)
        for split in SPLITS:
            runs = sweep.runs(*place, split)
            assert runs.shape == (3, len(script.LRS)) and runs.min() > 0


def test_at_the_base_both_parametrisations_are_one(stored):
    sweep, script = stored
    width = getattr(script.BASE, "width", None) or script.BASE.d_model
    for optimizer, split in product(sweep.optimizers, SPLITS):
        pair = [sweep.runs(optimizer, kind, width, split) for kind in ("standard", "mup")]
        assert np.array_equal(*pair)


@pytest.mark.parametrize("split", SPLITS)
def test_the_best_rate_drifts_in_the_standard_and_not_in_mup(stored, split):
    sweep, _ = stored
    for optimizer in sweep.optimizers:
        standard, mup = (drifts(sweep, optimizer, kind, split) for kind in ("standard", "mup"))
        assert standard.max() < (-0.3 if optimizer == "sgd" else -0.6)
        assert abs(np.median(mup)) < 0.4
        assert np.abs(mup).max() < np.abs(standard).max() - 0.3


def test_a_rate_tuned_narrow_costs_more_in_the_standard():
    sweep = Sweep(ROOT / "notebooks" / "results" / "tuning_mlp.json")
    for width, least in ((256, 0.2), (512, 0.4)):
        losses = {}
        for kind in ("standard", "mup"):
            narrow = np.median(sweep.runs("adamw", kind, 32), 0).argmin()
            wide = np.median(sweep.runs("adamw", kind, width), 0)
            losses[kind] = wide[narrow] - wide.min()
        assert losses["standard"] > least > 0.1 > losses["mup"]


def test_in_mup_wider_is_no_worse_at_any_rate_that_is_stable():
    sweep = Sweep(ROOT / "notebooks" / "results" / "tuning_mlp.json")
    medians = np.array([np.median(sweep.runs("adamw", "mup", w), 0) for w in sweep.widths])
    assert (np.diff(medians[:, :8], axis=0) < 0.03).all()
    standard = np.array([np.median(sweep.runs("adamw", "standard", w), 0) for w in sweep.widths])
    assert (np.diff(standard[:, :8], axis=0) > 0.2).any()


def test_a_piece_of_the_mlp_sweep_is_reproduced():
    script = load_script("tuning_mlp")
    sweep = Sweep(script.OUT)
    task = data.signals(4000, 1000, seed=0)
    for kind in ("standard", "mup"):
        cells = script.sweep("adamw", kind, 64, task, lrs=(2.0**-9, 2.0**-7), seeds=(0, 1))
        for cell, column in zip(cells, (1, 3), strict=True):
            kept = sweep.runs("adamw", kind, 64)[:2, column]
            assert cell["loss"] == pytest.approx(kept, abs=0.03)  # other processors round otherwise


def table(role, optimizer, ratio):
    if optimizer == "adamw":
        return 1 / ratio if role in ("hidden", "output") else 1.0
    return {"input": ratio, "vector": ratio, "hidden": 1, "output": 1 / ratio}[role]


def vertex(k, left, middle, right):
    return k - (right - left) / 4 / ((left + right) / 2 - middle)


def rate(lr, batch, new, optimizer):
    return lr * (new / batch) ** (1 if optimizer == "sgd" else 0.5)


RIGHT = {
    tuning_at_scale.check_factor: [table],
    tuning_at_scale.check_attention_scale: [lambda q, b: math.sqrt(b) / q],
    tuning_at_scale.check_vertex: [vertex],
    tuning_at_scale.check_batch_rule: [rate],
    tuning_at_scale.check_forgotten: ["b", " B "],
}
WRONG = {
    tuning_at_scale.check_factor: {
        "Adam's for both": lambda role, o, m: table(role, "adamw", m),
        "SGD's for both": lambda role, o, m: table(role, "sgd", m),
        "the optimizers exchanged": lambda role, o, m: table(
            role, "sgd" if o == "adamw" else "adamw", m
        ),
        "the output forgotten": lambda role, o, m: 1.0 if role == "output" else table(role, o, m),
        "multiplied": lambda role, o, m: 1 / table(role, o, m),
        "the root": lambda role, o, m: table(role, o, m) ** 0.5,
        "biases like weights": lambda role, o, m: table(
            "hidden" if role == "vector" else role, o, m
        ),
        "always one": lambda role, o, m: 1.0,
    },
    tuning_at_scale.check_attention_scale: {
        "standard": lambda q, b: 1 / math.sqrt(q),
        "no base": lambda q, b: 1 / q,
        "the base's size": lambda q, b: b / q,
        "inverse": lambda q, b: q / math.sqrt(b),
        "standard times the ratio": lambda q, b: b / q / math.sqrt(q),
    },
    tuning_at_scale.check_vertex: {
        "the middle": lambda k, *y: k,
        "the wrong way": lambda k, *y: 2 * k - vertex(k, *y),
        "twice as far": lambda k, *y: 2 * vertex(k, *y) - k,
        "the rate itself": lambda k, *y: 2 ** vertex(k, *y),
        "the offset": lambda k, *y: vertex(k, *y) - k,
        "towards the lower neighbour": lambda k, a, b, c: k - 0.5 if a < c else k + 0.5,
    },
    tuning_at_scale.check_batch_rule: {
        "always linear": lambda lr, b, n, o: lr * n / b,
        "always the root": lambda lr, b, n, o: lr * (n / b) ** 0.5,
        "exchanged": lambda lr, b, n, o: lr * (n / b) ** (0.5 if o == "sgd" else 1),
        "inverse": lambda lr, b, n, o: lr**2 / rate(lr, b, n, o),
        "no change": lambda lr, b, n, o: lr,
    },
    tuning_at_scale.check_forgotten: dict(zip("acde", "acde", strict=True)),
}
OTHERS = [lambda *_: None, lambda *_: "42", lambda *_: math.nan, lambda: 1, 7, "x"]


def test_no_checker_is_forgotten():
    names = [name for name in dir(tuning_at_scale) if name.startswith("check_")]
    assert {getattr(tuning_at_scale, name) for name in names} == set(RIGHT) == set(WRONG)


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
    words = {tuning_at_scale.check_forgotten(letter).text for letter in "acde"}
    assert len(words) == 4


def test_the_checkers_table_is_that_of_a_network():
    base, shape = count.MLP(3, 16), count.MLP(3, 64)
    for name, found in tuning.rules(shape, base).items():
        if name != "layers.3.bias":  # as long as there are classes at every width
            assert found.adamw == table(found.role, "adamw", 4)
            assert found.sgd == table(found.role, "sgd", 4)
