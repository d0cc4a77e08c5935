"""The stored sweep of 03_compute_optimal is what its script says: every planned run, on lines of
equal compute, made again alike by the same code.
"""

import json
import math
import sys

import pytest

import sweeps
from modelscale import data

gpt_scaling = sweeps.script("gpt_scaling")
STORED = sweeps.read("gpt_scaling")
RUNS = STORED["runs"]


def test_the_sweep_is_complete_and_says_where_it_comes_from():
    done = [gpt_scaling.key(run) for run in RUNS]
    assert done == gpt_scaling.planned()
    assert len(STORED["rates"]) == len(gpt_scaling.WIDTHS) * len(gpt_scaling.LRS)
    assert sweeps.says_where_it_comes_from(STORED, gpt_scaling.SEEDS)
    assert {"python", "text", "recipe"} <= set(STORED)
    assert 60 < STORED["seconds"] < 35 * 60


def test_every_run_lies_on_its_line_of_equal_compute():
    for run in RUNS:
        shape = gpt_scaling.shape(run["width"])
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


def test_a_sweep_of_another_text_is_not_gone_on_with(tmp_path, monkeypatch):
    out = tmp_path / "scaling.json"
    out.write_text(json.dumps(gpt_scaling.header("another text")))
    monkeypatch.setattr(gpt_scaling.data, "text", lambda: "this text")
    monkeypatch.setattr(gpt_scaling, "sweep", lambda text, result: [(result["rates"], {"lr": 1})])
    monkeypatch.setattr(sys, "argv", ["gpt_scaling", "--resume", "--out", str(out)])
    with pytest.raises(ValueError, match="text="):
        gpt_scaling.main()
