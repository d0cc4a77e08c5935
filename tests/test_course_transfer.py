"""Proves that the two sweeps behind notebook 06 are whole, come from their scripts and can be
made again.
"""

import json
import sys
from itertools import product

import numpy as np
import pytest

import sweeps
from modelscale.files import write_whole


@pytest.fixture(scope="module")
def scripts():
    """The two scripts behind the sweeps of networks; the second imports the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(sweeps.ROOT / "experiments"))
        yield {name: sweeps.script(name) for name in ("transfer_ladder", "transfer_sources")}
        sys.modules.pop("transfer_ladder", None)


@pytest.fixture(scope="module", params=["transfer_ladder", "transfer_sources"])
def stored(request, scripts):
    """A stored sweep and the script that made it."""
    return sweeps.read(request.param), scripts[request.param]


def test_the_sweeps_say_where_they_come_from(stored):
    content, script = stored
    for name in ("SEEDS", "TUNING_SEEDS", "LRS"):
        assert tuple(content[name.lower()]) == getattr(script, name)
    assert len(script.SEEDS) == 5 and not set(script.SEEDS) & set(script.TUNING_SEEDS)
    assert sweeps.says_where_it_comes_from(content, script.SEEDS)


def test_each_rate_is_the_best_of_its_tuning_draws(stored):
    content, script = stored
    for cell in content["cells"]:
        assert len(cell["validation"]) == len(script.LRS)
        best = cell["validation"][script.LRS.index(cell["lr"])]
        assert best == max(cell["validation"])
        assert len(cell["test"]) == 5 and 0 < min(cell["test"]) <= max(cell["test"]) < 1


def test_the_ladder_is_whole(scripts):
    script = scripts["transfer_ladder"]
    cells = sweeps.read("transfer_ladder")["cells"]
    assert [tuple(cell[key] for key in script.KEYS) for cell in cells] == script.wanted()
    assert {cell["labels"] for cell in cells} == {1, 2, 5, 10, 20, 50, 100}


def test_the_sources_are_whole(scripts):
    script = scripts["transfer_sources"]
    content = sweeps.read("transfer_sources")
    places = [(c["source"], c["labels"], c["method"]) for c in content["cells"]]
    assert places == list(product(script.SOURCES, script.LABELS, ("freeze 3", "fine-tune")))
    assert len(content["forgetting"]) == 13
    assert all(np.shape(f["target_source"]) == (5, 2) for f in content["forgetting"])


def test_a_run_that_was_cut_off_keeps_what_it_has(scripts, tmp_path):
    script, out = scripts["transfer_ladder"], tmp_path / "ladder.json"
    content = sweeps.read("transfer_ladder")
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
    cells = sweeps.read("transfer_ladder")["cells"]
    (cell,) = [c for c in cells if place.items() <= c.items()]
    for seed in (0, 1):
        again, flops = script.accuracy(*place.values(), cell["lr"], seed)
        assert again == pytest.approx(cell["test"][seed], abs=0.02)  # processors round otherwise
        assert flops == cell["flops"]


def test_the_script_makes_the_probe_on_features_again(scripts):
    script = scripts["transfer_ladder"]
    script.pretrained.cache_clear()
    network = script.models.build(script.count.ConvNet2d(3, 8), 0)
    few = script.task("moved digits").subset(50, 0)
    recipe = script.replace(script.RECIPE, steps=20, batch_size=32)
    _, flops = script.fit_tail(network, 3, few, recipe, 0)
    whole = script.models.counted_flops(network, script.models.one_sample(network.shape))
    assert flops == 50 * whole - 50 * 2560 + 20 * 32 * 5120  # the head: forward, then trained


def test_a_tuning_draw_is_judged_by_samples_it_did_not_draw(scripts):
    script = scripts["transfer_ladder"]
    pool = script.task("signals")
    judged = script.held_out(pool, pool.subset(50, 100), 50, 100)
    drawn = {tuple(row) for row in judged.x_train.tolist()}
    assert len(drawn) == 50 and len(judged.y_test) == 1000
    assert not drawn & {tuple(row) for row in judged.x_test.tolist()}


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path):
    out = tmp_path / "sweep.json"
    write_whole(out, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(out, "\ud800")
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]
