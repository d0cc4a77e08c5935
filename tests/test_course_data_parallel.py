"""Proves that each suspect of notebook 08's break-it lab shows its own fault's symptom alone, and
that its stored sweep is whole, comes from its script, and shows what the notebook says of it.
"""

import math
from itertools import product

import numpy as np
import pytest

import sweeps
from answers.data_parallel import ANSWER
from modelscale import count, data, parallel
from modelscale.exercises import data_parallel
from modelscale.tuning import noise_scale


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
    content = sweeps.read("critical_batch")
    return content, {(c["optimizer"], c["batch"], c["lr"]): c["steps"] for c in content["cells"]}


@pytest.fixture(scope="module")
def script():
    """The script that made it."""
    return sweeps.script("critical_batch")


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored, script):
    content, cells = stored
    wanted = [(o, b, lr) for o, b in product(script.LRS, script.STEPS) for lr in script.LRS[o]]
    assert list(cells) == wanted
    assert sweeps.says_where_it_comes_from(content, script.SEEDS)
    assert content["target"] == script.TARGET
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
