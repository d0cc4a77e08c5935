"""Proves that the explorer of notebook 08 shows its closed form: every control moves picture and
words, times are made of the predicted step and of a ring, and its star stands where more workers
stop paying; and that the laws beside it are the textbook's.
"""

import math

import pytest
from matplotlib.figure import Figure

import explorers
from modelscale import count
from modelscale.machine import Machine, predict_step
from modelscale.parallel import speedup
from modelscale.parallel.ring import Link
from modelscale.plot import seconds
from modelscale.widgets import data_parallel

LATENCY_S = 1e-4
STATE = {
    "network": "MLP 4 x 1024",
    "scaling": "fixed batch",
    "order": "in turn",
    "workers": 8,
    "batch": 2048,
    "bandwidth": 1.0,
}


@pytest.fixture(scope="module")
def box():
    """A machine whose rates are known: 50 GFLOP/s, 10 GB/s, 10 microseconds an operation."""
    flat = {"float32": [[8, 5e10], [1024, 5e10]]}
    return Machine("made up", "cpu", "2026-01-01", flat, [[1e4, 1e10], [1e8, 1e10]], 1e-5, 1e-4)


@pytest.fixture(scope="module")
def made(box):
    """The explorer: one for all tests, as making it takes a second or more."""
    return data_parallel.data_parallel_explorer(box, LATENCY_S)


@pytest.fixture
def explorer(made):
    """The explorer, at a place where every control counts."""
    return explorers.put(made, STATE)


@pytest.mark.parametrize("name", STATE)
def test_every_value_of_every_control_has_its_own_words_and_picture(explorer, name):
    explorers.assert_every_value_counts(explorer, name)


def test_a_move_redraws_no_axes(explorer):
    explorers.assert_no_move_redraws_axes(explorer)


def test_times_are_the_predicted_step_and_a_ring(box):
    shape, link = count.MLP(4, 1024), Link(LATENCY_S, 1e9)
    found = data_parallel.compute(box, LATENCY_S, **STATE)
    sending = link.all_reduce_s(4 * shape.params, 8)
    assert found["computing"][3] == pytest.approx(predict_step(box, shape, 256).step_s)
    assert found["waiting"][3] == pytest.approx(sending) and found["waiting"][0] == 0
    one = predict_step(box, shape, 2048).step_s
    assert found["speedup"][3] == pytest.approx(one / (found["computing"][3] + sending))
    grown = data_parallel.compute(box, LATENCY_S, **STATE | {"scaling": "batch per worker"})
    assert grown["computing"] == pytest.approx([one] * len(data_parallel.WORKERS))
    assert grown["speedup"][3] == pytest.approx(8 * one / (one + sending))
    hidden = data_parallel.compute(box, LATENCY_S, **STATE | {"order": "overlap"})
    wanted = max(0.0, sending - 2 / 3 * found["computing"][3])
    assert hidden["waiting"][3] == pytest.approx(wanted)


@pytest.mark.parametrize("network", data_parallel.NETWORKS)
@pytest.mark.parametrize("scaling", data_parallel.SCALINGS)
def test_the_star_is_where_no_more_workers_bring_five_per_cent(box, network, scaling):
    found = data_parallel.compute(
        box, LATENCY_S, **STATE | {"network": network, "scaling": scaling, "batch": 16}
    )
    at, speedup = data_parallel.WORKERS.index(found["best"]), found["speedup"]
    assert speedup.max() < 1.05 * speedup[at]
    assert all(speedup[i + 1 :].max() >= 1.05 * speedup[i] for i in range(at))


def test_where_all_workers_pay_there_is_no_star(explorer):
    explorer.controls["scaling"].value = "batch per worker"
    assert explorer.text.endswith(" More workers pay up to the last, 1024.")
    assert math.isnan(explorer.picture.art[1]["best"].get_ydata()[0])


def test_lines_and_marks_stand_at_these_numbers(explorer, box):
    times, speedups = explorer.picture.art
    found = data_parallel.compute(box, LATENCY_S, **STATE)
    assert times["computing"].get_ydata() == pytest.approx(1e3 * found["computing"])
    assert times["waiting"].get_ydata()[1:] == pytest.approx(1e3 * found["waiting"][1:])
    assert math.isnan(times["waiting"].get_ydata()[0])  # one worker waits for nobody: not drawn
    assert times["here"].get_xdata() == [3, 3]
    assert speedups["line"].get_ydata() == pytest.approx(found["speedup"])
    assert speedups["point"].get_data() == ([8], [pytest.approx(found["speedup"][3])])
    at = data_parallel.WORKERS.index(found["best"])
    assert speedups["best"].get_data() == ([found["best"]], [pytest.approx(found["speedup"][at])])


def test_the_words_tell_the_same_numbers(explorer, box):
    found = data_parallel.compute(box, LATENCY_S, **STATE)
    computing, waiting, speedup = (found[k][3] for k in ("computing", "waiting", "speedup"))
    words = (
        f" 1 GB/s, 8 workers: {seconds(computing)} computing, {seconds(waiting)} waiting; "
        f"{speedup:.2f} times one worker, efficiency {speedup / 8:.0%}. "
        f"More workers stop paying at {found['best']}."
    )
    assert explorer.text.endswith(words) and waiting != pytest.approx(computing, rel=0.1)
    explorer.controls["workers"].value = 1
    assert ", 1 worker: " in explorer.text


def test_the_plain_pictures_have_labelled_axes_with_units(box):
    found = data_parallel.compute(box, LATENCY_S, **STATE)
    left, right = Figure().subplots(1, 2)
    data_parallel.plot_time(left, found)
    data_parallel.plot_speedup(right, found)
    assert left.get_ylabel() == "step time (ms)" and right.get_ylabel() == "speed-up"
    assert [t.get_text() for t in left.get_legend().get_texts()] == [
        "computing",
        "waiting for messages",
    ]
    left.figure.canvas.draw()
    assert [t.get_text() for t in left.get_xticklabels()] == ["1", "4", "16", "64", "256", "1024"]
    assert [t.get_text() for t in right.get_legend().get_texts()] == [
        "ideal",
        "predicted",
        "stops paying",
    ]


def test_the_laws():
    assert speedup.amdahl(1, 0.3) == speedup.gustafson(1, 0.3) == 1
    assert speedup.amdahl(4, 0.2) == pytest.approx(1 / (0.2 + 0.8 / 4))
    assert speedup.amdahl(10**9, 0.2) == pytest.approx(5)
    assert speedup.gustafson(4, 0.2) == pytest.approx(0.2 + 0.8 * 4)
    assert speedup.amdahl(8, 0) == speedup.gustafson(8, 0) == 8
    assert speedup.amdahl(8, 1) == speedup.gustafson(8, 1) == 1
    for p in (2, 16):  # the same run, told in shares of its time on p ranks and on one
        s = 0.1
        on_one = s / (s + p * (1 - s))
        assert speedup.amdahl(p, on_one) == pytest.approx(speedup.gustafson(p, s))


def test_overlap_hides_at_most_the_backward_pass():
    assert speedup.step_time(3.0, 1.0).step_s == 4.0 and speedup.step_time(0.0, 0.0).step_s == 0
    assert speedup.step_time(3.0, 1.0, overlap=True).step_s == 3.0
    assert speedup.step_time(3.0, 5.0, overlap=True).waiting_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: speedup.amdahl(0, 0.1), "ranks=0"),
        (lambda: speedup.amdahl(2, 1.1), "share from 0 to 1"),
        (lambda: speedup.gustafson(2, -0.1), "serial=-0.1"),
        (lambda: speedup.step_time(-1.0, 0.0), "computing_s=-1.0"),
        (lambda: speedup.step_time(0.0, -1.0), "sending_s=-1.0"),
        (lambda: speedup.gustafson(0, 0.1), "ranks=0"),
    ],
)
def test_bad_input_is_answered(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_workers_that_batches_do_not_divide_take_the_larger_share(box):
    found = data_parallel.compute(box, LATENCY_S, **STATE | {"batch": 20})
    for workers, share in ((8, 3), (16, 2), (32, 1), (64, 1)):
        alone = predict_step(box, count.MLP(4, 1024), share).step_s
        assert found["computing"][data_parallel.WORKERS.index(workers)] == pytest.approx(alone)


def test_where_messages_cost_nothing_all_workers_pay(box):
    free = STATE | {"scaling": "batch per worker", "bandwidth": 1e9}
    assert data_parallel.compute(box, 0.0, **free)["best"] == data_parallel.WORKERS[-1]
