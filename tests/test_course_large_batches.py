"""Proves that the stored sweep of notebook 12 is whole, comes from its script, and shows a critical
batch and both rules; and that the noise scale is that of known gradients.
"""

import math
from itertools import product

import pytest

import sweeps
from modelscale.course import large_batches


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


def test_the_noise_scale_of_lengths_that_are_known():
    squared, trace = 2.0, 80.0
    small, large = (squared + trace / batch for batch in (16, 32))
    assert large_batches.noise_scale(small, large, 16, 32) == pytest.approx(40)
    assert large_batches.noise_scale(2.0, 1.0, 1, 2) == math.inf
