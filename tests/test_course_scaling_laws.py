"""The checkers of notebook 02 tell right from plausibly wrong, and its stored sweep is what its
script says: every planned run, on lines of equal compute, made again alike by the same code.
"""

import importlib.util
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from modelscale import count, data, laws
from modelscale.exercises import Verdict, scaling_laws

ROOT = Path(__file__).parents[1]
STORED = json.loads((ROOT / "notebooks" / "results" / "gpt_scaling.json").read_text())
RUNS = STORED["runs"]


def load_script():
    path = ROOT / "experiments" / "gpt_scaling.py"
    spec = importlib.util.spec_from_file_location("gpt_scaling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gpt_scaling = load_script()


def vertex(N, loss):
    p, q, _ = np.polyfit(np.log(N), loss, 2)
    return np.exp(-q / (2 * p))


def straight_vertex(N, loss):
    p, q, _ = np.polyfit(N, loss, 2)
    return -q / (2 * p)


def optimal_size(law, C):
    ratio = law.alpha * law.A / (law.beta * law.B)
    return (ratio * (C / 6) ** law.beta) ** (1 / (law.alpha + law.beta))


def budget_for(law, loss, floor=True):
    s = law.alpha * law.beta / (law.alpha + law.beta)
    E = law.E if floor else 0
    K = (law.loss(*law.optimal(1e21)) - E) * 1e21**s
    return (K / (loss - E)) ** (1 / s)


def searched_budget(law, loss):
    C = np.geomspace(1e15, 1e28, 20_001)
    return C[np.argmin(np.abs(law.loss(*law.optimal(C)) - loss))]


RIGHT = {
    scaling_laws.check_halving: [lambda a: 2 ** (1 / a), lambda a: math.exp(math.log(2) / a)],
    scaling_laws.check_best_size: [vertex, lambda N, loss: laws.isoflop(N, loss).N_opt],
    scaling_laws.check_optimal_size: [optimal_size, lambda law, C: float(law.optimal(C)[0])],
    scaling_laws.check_budget_for: [budget_for, searched_budget],
    scaling_laws.check_colleague: ["b", " B "],
}
WRONG = {
    scaling_laws.check_halving: {
        "slope taken for a factor": lambda a: 2 / a,
        "always double": lambda a: 2,
        "the wrong way round": lambda a: 2**a,
        "down, not up": lambda a: 2 ** (-1 / a),
        "e instead of 2": lambda a: math.exp(1 / a),
    },
    scaling_laws.check_best_size: {
        "not in log N": straight_vertex,
        "the best run": lambda N, loss: N[np.argmin(loss)],
        "left in logs": lambda N, loss: np.log(vertex(N, loss)),
        "decimal logs, e back": lambda N, loss: math.exp(math.log10(vertex(N, loss))),
        "the middle": lambda N, loss: np.sqrt(N[0] * N[-1]),
        "the loss there": lambda N, loss: loss.min(),
        "twice the vertex in log": lambda N, loss: vertex(N, loss) ** 2,
    },
    scaling_laws.check_optimal_size: {
        "the 6 forgotten": lambda law, C: optimal_size(law, 6 * C),
        "the tokens": lambda law, C: C / (6 * optimal_size(law, C)),
        "exponents swapped": lambda law, C: float(
            laws.LossSurface(law.E, law.A, law.B, law.beta, law.alpha).optimal(C)[0]
        ),
        "no alpha and beta before A and B": lambda law, C: (
            (law.A / law.B * (C / 6) ** law.beta) ** (1 / (law.alpha + law.beta))
        ),
        "20 tokens a parameter": lambda law, C: (C / 120) ** 0.5,
        "the power of C alone": lambda law, C: (C / 6) ** (law.beta / (law.alpha + law.beta)),
    },
    scaling_laws.check_budget_for: {
        "the floor forgotten": lambda law, loss: budget_for(law, loss, floor=False),
        "size alone": lambda law, loss: (law.A / (loss - law.E)) ** (1 / law.alpha),
        "in units of 6": lambda law, loss: budget_for(law, loss) / 6,
        "parameters": lambda law, loss: law.optimal(budget_for(law, loss))[0],
        "always one budget": lambda law, loss: 5.76e23,
        "ten per cent off": lambda law, loss: 1.1 * budget_for(law, loss),
    },
    scaling_laws.check_colleague: dict(zip("acde", "acde", strict=True)),
}


def crashes(*_):
    raise KeyError("no such thing")


ALWAYS_WRONG = [crashes, lambda *_: None, lambda *_: "42", lambda *_: float("nan"), 7, "x"]


def cases(answers):
    return [
        pytest.param(checker, answer, id=f"{checker.__name__}-{name}")
        for checker, given in answers.items()
        for name, answer in (given.items() if isinstance(given, dict) else enumerate(given))
    ]


def test_no_checker_is_forgotten():
    written = {getattr(scaling_laws, n) for n in dir(scaling_laws) if n.startswith("check_")}
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


def test_each_wrong_letter_is_refuted_in_its_own_words():
    assert len({scaling_laws.check_colleague(letter).text for letter in "acde"}) == 4


def refuses(checker, answer):
    verdict = checker(answer)
    assert not verdict.passed
    reason, hint = verdict.text.removeprefix("Not yet: ").split(" Hint: ")
    assert len(reason) > 5 and len(hint) > 15


def test_the_sweep_is_complete_and_says_where_it_comes_from():
    done = [gpt_scaling.key(run) for run in RUNS]
    assert done == gpt_scaling.planned()
    assert len(STORED["rates"]) == len(gpt_scaling.WIDTHS) * len(gpt_scaling.LRS)
    assert {"machine", "date", "python", "text", "recipe", "seconds"} <= set(STORED)
    assert 60 < STORED["seconds"] < 35 * 60
    assert STORED["seeds"] == list(gpt_scaling.SEEDS)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['C']:.0e}-{run['width']}")
def test_a_run_lies_on_its_line_of_equal_compute(run):
    shape = gpt_scaling.shape(run["width"])
    assert isinstance(shape, count.Transformer)
    assert (run["N"], run["N_non_embedding"]) == (shape.params, shape.params_non_embedding)
    assert 6 * run["N"] * run["D"] == pytest.approx(run["C"], rel=0.01)
    assert run["lr"] == gpt_scaling.chosen_rates(STORED["rates"])[run["width"]]
    assert 1 < run["loss"] < math.log(256)
    quarters = [step / run["D"] for step, _ in run["path"]]
    assert quarters == pytest.approx([0.25, 0.5, 0.75], abs=0.01)
    assert all(loss > run["loss"] for _, loss in run["path"])


def test_cheap_cells_have_every_seed_and_seeds_agree():
    for budget, width in gpt_scaling.cells():
        losses = [r["loss"] for r in RUNS if (r["C"], r["width"]) == (budget, width)]
        assert len(losses) == (3 if budget <= gpt_scaling.MANY_SEEDS else 1)
        assert max(losses) - min(losses) < 0.2


def test_the_chosen_rate_is_the_best_on_the_tuning_windows():
    rates = [
        {"width": 8, "lr": 1.0, "tuning_loss": 3.0, "loss": 1.0},
        {"width": 8, "lr": 2.0, "tuning_loss": 2.0, "loss": 2.0},
        {"width": 9, "lr": 1.0, "tuning_loss": 5.0, "loss": 5.0},
    ]
    assert gpt_scaling.chosen_rates(rates) == {8: 2.0, 9: 1.0}


def test_wide_networks_want_lower_rates():
    chosen = gpt_scaling.chosen_rates(STORED["rates"])
    assert chosen[8] >= chosen[16] >= chosen[32] >= chosen[64]
    assert chosen[8] > 2 * chosen[64]


def test_the_best_size_grows_with_the_budget():
    best = []
    for budget in gpt_scaling.BUDGETS[:4]:
        N, loss = np.array([(r["N"], r["loss"]) for r in RUNS if r["C"] == budget]).T
        best.append(laws.isoflop(N, loss).N_opt)
    assert all(later > 1.2 * earlier for earlier, later in pairwise(best))


def test_a_run_can_be_made_again_and_the_windows_do_not_overlap():
    text = data.text(20_000, source="synthetic")
    first, again, other = (gpt_scaling.train(text, 8, 8192, 1e-2, seed) for seed in (0, 0, 1))
    assert first == again
    assert first["loss"] != other["loss"]
    assert first["D"] == 8192 and [step for step, _ in first["path"]] == [2048, 4096, 6144]
    (tune, _), (score, _) = gpt_scaling.windows(text)
    assert tune.shape == score.shape == (gpt_scaling.WINDOWS, gpt_scaling.CONTEXT)
    assert not {tuple(row) for row in tune.tolist()} & {tuple(row) for row in score.tolist()}


def test_a_sweep_goes_on_where_it_was_cut_off(monkeypatch):
    trained = []

    def train(text, width, tokens, lr, seed, records=4):
        trained.append((seed, width))
        return {"width": width, "lr": lr, "seed": seed, "tuning_loss": lr, "loss": 2.0}

    monkeypatch.setattr(gpt_scaling, "train", train)
    plan = gpt_scaling.planned()
    done = [{"seed": s, "C": c, "width": w} for s, c, w in plan[:-2]]
    result = {"rates": STORED["rates"], "runs": list(done)}
    new = [row for _, row in gpt_scaling.sweep(None, result)]
    assert trained == [(seed, width) for seed, _, width in plan[-2:]]
    assert [gpt_scaling.key(row) for row in new] == plan[-2:]
