"""Proves that each suspect of the break-it labs shows its own fault's symptom alone, and that times
in the explorer are those of a predicted step and of a ring, of which only the backward pass hides.
"""

import pytest
import torch

from answers.data_parallel import ANSWER, BOX, EXPLORER
from modelscale import count, data, parallel
from modelscale.course import data_parallel, large_batches
from modelscale.machine import predict_step

PLACE = {"network": "MLP 4 x 1024", "scaling": "fixed batch", "batch": 2048, "bandwidth": 1.0}


def test_each_suspect_shows_its_own_symptom():
    task = data.signals(101, n_test=10)
    args = count.MLP(2, 32), task.x_train, task.y_train, 32
    for suspect in data_parallel.SUSPECTS:
        fault = ANSWER[suspect]
        for found in parallel.run(data_parallel.symptoms, suspect, *args):
            assert (found["apart"] > 0.01) == (found["even"] > 1e-6) == (fault == "average")
            assert (found["repeated"] == 1) == (fault == "order")
            assert (found["uneven"] > 0.01) == (fault != "order")


def test_the_other_colleagues_gradient_grows_with_the_parts_and_adamw_hides_it():
    task = data.signals(640, n_test=10)
    args = count.MLP(2, 32), task.x_train, task.y_train
    found = {
        (who, parts): large_batches.accumulated(who, *args, parts, torch.optim.AdamW)
        for who in large_batches.COLLEAGUES
        for parts in (1, 4)
    }
    whole, *others = (found[key] for key in sorted(found))
    one, other_whole, other = found["one", 4], found["other", 1], found["other", 4]
    assert whole == other_whole and one["gradient"] == pytest.approx(whole["gradient"], rel=1e-4)
    assert other["gradient"] == pytest.approx(4 * whole["gradient"], rel=1e-4)
    assert all(run["loss"] == pytest.approx(whole["loss"], rel=1e-2) for run in others)


@pytest.mark.parametrize("batch", [2048, 20])  # 20: the larger share counts
def test_times_are_the_predicted_step_and_a_ring(batch):
    shape, place = count.MLP(4, 1024), PLACE | {"batch": batch}
    found = data_parallel._step_times(BOX, 1e-4, order="in turn", **place)
    sending = 14 * (1e-4 + 4 * shape.params / 8 / 1e9)
    share = predict_step(BOX, shape, -(-batch // 8)).step_s
    assert found["computing"][3] == pytest.approx(share)
    assert found["whole"][3] == pytest.approx(share + sending)
    one = predict_step(BOX, shape, batch).step_s
    assert found["whole"][0] == pytest.approx(one)
    assert found["speedup"][3] == pytest.approx(one / (share + sending))
    grown = data_parallel._step_times(
        BOX, 1e-4, order="in turn", **place | {"scaling": "batch per worker"}
    )
    assert grown["computing"] == pytest.approx([one] * len(data_parallel.WORKERS))
    assert grown["speedup"][3] == pytest.approx(8 * one / (one + sending))


def test_messages_hide_behind_the_backward_pass_alone():
    """Clipping and the optimizer wait for them: at 1,024 workers they are most of a step."""
    apart, over = (
        data_parallel._step_times(BOX, 1e-4, order=order, **PLACE)
        for order in ("in turn", "overlap")
    )
    hidden, forward_and_update = apart["whole"] - over["whole"], over["computing"]
    assert hidden[0] == 0 and (hidden[1:] > 0).all()
    assert hidden[6] == pytest.approx(2 / 3 * passes_s(32))
    assert passes_s(32) < forward_and_update[6] / 2  # the update is longer than both passes


def passes_s(batch):
    """Seconds of a step's forward and backward passes on the made-up machine."""
    return 1.5 * data_parallel._alone_s(BOX, count.MLP(4, 1024), batch)[1]


@pytest.mark.parametrize("network", data_parallel.NETWORKS)
def test_the_star_is_where_no_more_workers_bring_five_per_cent(network):
    place = PLACE | {"network": network, "batch": 16, "order": "in turn"}
    found = data_parallel._step_times(BOX, 1e-4, **place)
    at, speedup = data_parallel.WORKERS.index(found["best"]), found["speedup"]
    assert speedup.max() < 1.05 * speedup[at]
    assert all(speedup[i + 1 :].max() >= 1.05 * speedup[i] for i in range(at))


def test_lines_and_marks_stand_at_these_numbers():
    explorer = EXPLORER()
    art = explorer.picture.art
    found = data_parallel._step_times(BOX, 1e-4, order="in turn", **PLACE)
    assert art["computing"].get_ydata() == pytest.approx(1e3 * found["computing"])
    assert art["whole"].get_ydata() == pytest.approx(1e3 * found["whole"])
    at = data_parallel.WORKERS.index(found["best"])
    assert art["point"].get_data() == ([8], [pytest.approx(found["speedup"][3])])
    assert art["best"].get_data() == ([found["best"]], [pytest.approx(found["speedup"][at])])
