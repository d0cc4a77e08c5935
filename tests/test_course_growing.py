"""Proves that the stored sweeps of notebook 07 are whole, come from their scripts, and spend equal
FLOPs.
"""

import numpy as np
import pytest

import sweeps


@pytest.mark.parametrize("name", ["growing", "growing_gpt", "growing_steps"])
def test_a_stored_sweep_says_where_it_comes_from(name):
    assert sweeps.says_where_it_comes_from(sweeps.read(name), sweeps.script(name).SEEDS)


def test_every_run_of_the_budgets_spends_all_of_its_budget_and_no_more():
    sweep = sweeps.script("growing")
    runs = sweeps.read("growing")["runs"]
    wanted = [(s, b, *m) for s in sweep.SAMPLES for b in sweep.BUDGETS[s] for m in sweep.methods()]
    keys = [(r["samples"], r["budget_flops"], r["method"], r["grown_at"]) for r in runs]
    assert keys[:: len(sweep.SEEDS)] == [(s, sweep.budget(b), *m) for s, b, *m in wanted]
    for run in runs:
        spent = run["curve"]["flops"][-1] / run["budget_flops"]
        assert abs(spent - 1) < 0.02
        assert (run["paid_before_flops"] > 0) == (run["grown_at"] is not None)
        assert run["curve"]["loss"][-1] == run["loss"]


def test_every_run_of_the_steps_is_whole_and_spends_the_same():
    sweep, runs = sweeps.script("growing_steps"), sweeps.read("growing_steps")["runs"]
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
    sweep, content = sweeps.script("growing_gpt"), sweeps.read("growing_gpt")
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
    sweep = sweeps.script("growing_steps")
    again = sweep.grow(sweep.task(), sweep.BUDGETS[0], 32, "fresh neurons")
    first = sweep.step_flops(sweep.BIG) * sweep.BUDGETS[0], 32, "fresh neurons"
    known = [
        r
        for r in sweeps.read("growing_steps")["runs"]
        if (r["budget_flops"], r["start"], r["kind"]) == first
    ]
    for new, old in zip(again, known, strict=True):
        assert new["grown_at_flops"] == old["grown_at_flops"]
        assert new["loss"] == pytest.approx(old["loss"], abs=0.05)
