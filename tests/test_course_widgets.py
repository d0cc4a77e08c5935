"""The explorers of the course tell the truth: closed forms, measured cells, every control.

The machine here is made up, so that every time can be computed by hand; the sweep is the stored
one, and it shows what notebook 01 says of it.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import explorers
import sweeps
from modelscale import count, machine
from modelscale.count.operations import training_step
from modelscale.widgets import roofline, vertical

PEAK, BANDWIDTH, START, STEP = 1e10, 1e9, 1e-5, 1e-4
FLAT = machine.Machine(
    description="made up",
    device="cpu",
    date="2000-01-01",
    product_flops_per_s={"float32": [[8, PEAK], [1024, PEAK]]},
    copy_bytes_per_s=[[1e3, BANDWIDTH], [1e9, BANDWIDTH]],
    operation_s=START,
    step_s=STEP,
)
PLACE = {"kind": "plain", "n": 2000, "depth": 4, "width": 32}


@pytest.fixture
def sweep():
    """The stored sweep."""
    return vertical.Sweep(sweeps.path("vertical_scaling"))


@pytest.fixture
def made(sweep):
    """Both explorers of the course on the made-up machine, by name."""
    return {
        "roofline": roofline.roofline_explorer(FLAT),
        "vertical": vertical.vertical_explorer(sweep, FLAT),
    }


@pytest.fixture(scope="module")
def stored():
    """The file itself, and its cells by kind, samples, depth and width."""
    content = sweeps.read("vertical_scaling")
    keys = ("kind", "n", "depth", "width")
    return content, {tuple(cell[key] for key in keys): cell for cell in content["cells"]}


@pytest.mark.parametrize(
    ("kind", "n", "flops", "n_bytes", "bound"),
    [
        ("matrix x matrix", 8, 2 * 8**3, 3 * 4 * 8**2, "starting"),
        ("matrix x matrix", 512, 2 * 512**3, 3 * 4 * 512**2, "computing"),
        ("matrix x vector", 1024, 2 * 1024**2, 4 * (1024**2 + 2 * 1024), "moving"),
        ("addition", 16, 16**2, 3 * 4 * 16**2, "starting"),
        ("addition", 4096, 4096**2, 3 * 4 * 4096**2, "moving"),
    ],
)
def test_an_operation_takes_the_longer_of_two_times_and_its_start(kind, n, flops, n_bytes, bound):
    found = roofline.compute(FLAT, kind, n)
    computing = flops / PEAK if kind == "matrix x matrix" else 0
    assert (found["flops"], found["bytes"], found["bound"]) == (flops, n_bytes, bound)
    assert found["intensity"] == pytest.approx(flops / n_bytes)
    assert found["time_s"] == pytest.approx(max(computing, n_bytes / BANDWIDTH) + START)
    assert found["flops_per_s"] == pytest.approx(flops / found["time_s"])


def test_the_roof_is_flat_at_the_peak_and_sloped_like_the_memory():
    ax = roofline.plot_roofline(FLAT, Figure().subplots())
    for line in ax.get_lines():
        x, y = line.get_data()
        assert y == pytest.approx(np.minimum(PEAK, BANDWIDTH * x) / 1e9)


def test_on_a_gpu_the_longer_of_working_and_starting_counts():
    gpu = replace(FLAT, device="cuda")
    for kind, n in itertools.product(roofline.KINDS, (8, 4096)):
        here, there = (roofline.compute(m, kind, n)["time_s"] for m in (FLAT, gpu))
        assert there == pytest.approx(max(here - START, START))


def test_no_operation_is_above_the_roof():
    for kind, n in itertools.product(roofline.KINDS, roofline.SIZES):
        found = roofline.compute(FLAT, kind, n)
        assert found["flops_per_s"] < min(PEAK, BANDWIDTH * found["intensity"])


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_network_costs_what_its_closed_forms_say(sweep, kind):
    found = vertical.compute(sweep, FLAT, kind, 2000, 2, 32)
    shape = count.MLP(2, 32, residual=kind == "residual")
    weights, biases = 40 * 32 + 32 * 32 + 32 * 10, 32 + 32 + 10
    norms = 2 * 2 * 32 if shape.residual else 0
    assert found["params"] == weights + biases + norms
    assert found["flops"] == 2 * 64 * (3 * weights - 40 * 32)
    assert found["bytes"] == 16 * found["params"] + shape.saved_bytes(64)
    ops = training_step(shape, 64)
    worked = [max(op.flops / PEAK, op.calls * op.bytes / BANDWIDTH) for op in ops]
    assert found["step_s"] == pytest.approx(
        sum(worked) + START * sum(op.calls for op in ops) + STEP
    )


@pytest.mark.parametrize(
    ("name", "control"),
    [("roofline", "kind"), ("roofline", "n"), *[("vertical", name) for name in PLACE]],
)
def test_every_value_of_every_control_has_its_own_words_and_picture(made, name, control):
    explorers.assert_every_value_counts(made[name], control)


@pytest.mark.parametrize("times", [1, 1e5], ids=["processor", "accelerator"])
def test_the_point_lies_where_the_operation_is_within_the_picture(times):
    """Also where the roof is so high that starting costs many times what computing does."""
    fast = {"float32": [[8, times * PEAK]]}
    box = replace(FLAT, product_flops_per_s=fast, copy_bytes_per_s=[[1e3, times * BANDWIDTH]])
    explorer = roofline.roofline_explorer(box)
    for kind, n in itertools.product(roofline.KINDS, (8, 4096)):
        explorer.controls["kind"].value, explorer.controls["n"].value = kind, n
        found = roofline.compute(box, kind, n)
        (x,), (y,) = explorer.picture.art.get_data()
        assert (x, y) == (found["intensity"], found["flops_per_s"] / 1e9)
        ax = explorer.picture.art.axes
        assert ax.get_xlim()[0] < x < ax.get_xlim()[1]
        assert ax.get_ylim()[0] < y < ax.get_ylim()[1]


def test_small_amounts_keep_the_space_before_their_unit():
    assert ": 128 FLOP, 320 B, " in roofline.describe(FLAT, "matrix x vector", 8)
    assert ": 2.15 GFLOP, 12.6 MB, " in roofline.describe(FLAT, "matrix x matrix", 1024)


def test_an_accuracy_of_one_is_not_cut_off(made):
    low, high = made["vertical"].picture.art[-1].axes.get_ylim()
    assert low == 0 and high > 1


def test_the_parts_of_the_drawing_follow_their_controls(made):
    """Kind moves arcs, depth and width bars, data only the accuracies."""
    explorer = made["vertical"]
    moves = {"kind": "residual", "depth": 8, "width": 64, "n": 8000}
    changed = {}
    for name, value in moves.items():
        before = drawn(explorer)
        explorer.controls[name].value = value
        changed[name] = [part for part, data in drawn(explorer).items() if data != before[part]]
    assert changed == {
        "kind": ["arcs", "points"],
        "depth": ["bars", "arcs", "points"],
        "width": ["bars", "arcs", "points"],
        "n": ["points"],
    }


def test_the_points_are_the_seeds_of_the_sweep(made, sweep):
    x, y = made["vertical"].picture.art[-1].get_data()
    train, test = (sweep.cells["plain", 2000, 4, 32][split] for split in ("train", "test"))
    assert list(x) == [0, 0, 0, 1, 1, 1] and list(y) == pytest.approx([*train, *test])


@pytest.mark.parametrize("width", [8, 128])
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_network_of_16_layers_fits_into_the_drawing(kind, width):
    ax = vertical.plot_network(Figure().subplots(), kind, 16, width)
    corners = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    arcs = np.array(ax.get_lines()[0].get_data()).T
    inside = np.concatenate([corners, arcs[~np.isnan(arcs[:, 0])]])
    assert len(ax.collections[0].get_paths()) == 18
    for axis, (low, high) in enumerate((ax.get_xlim(), ax.get_ylim())):
        assert low <= inside[:, axis].min() and inside[:, axis].max() < high
    shortcuts = np.isnan(arcs[:, 0]).sum()
    assert shortcuts == (15 if kind == "residual" else 0)  # the stem has none


def test_at_measured_points_the_sweep_is_what_was_measured(sweep):
    for (kind, *place), cell in sweep.cells.items():
        for split in ("train", "test"):
            assert list(sweep.runs(split, kind, *place)) == cell[split]


@pytest.mark.parametrize(
    ("name", "value", "low", "high"),
    [("n", 1000, 500, 2000), ("depth", 3, 2, 4), ("width", 24, 16, 32)],
)
def test_between_two_points_lies_a_straight_line_in_log_size(sweep, name, value, low, high):
    at, a, b = (sweep.runs("test", **{**PLACE, name: size}) for size in (value, low, high))
    share = math.log(value / low) / math.log(high / low)
    assert at == pytest.approx((1 - share) * a + share * b)
    assert ((np.minimum(a, b) <= at) & (at <= np.maximum(a, b))).all()


def test_between_points_on_all_axes_at_once_no_value_leaves_its_corners(sweep):
    corners = itertools.product((500, 2000), (2, 4), (16, 32))
    runs = [sweep.runs("test", "plain", *corner) for corner in corners]
    between = sweep.runs("test", "plain", 1000, 3, 24)
    assert (np.min(runs, 0) < between).all() and (between < np.max(runs, 0)).all()


@pytest.mark.parametrize(
    ("name", "outside", "edge"),
    [("n", 10, 500), ("n", 10**6, 32000), ("depth", 99, 16), ("width", 1, 8), ("width", 999, 128)],
)
def test_outside_the_sweep_its_edge_counts(sweep, name, outside, edge):
    assert list(sweep.runs("test", **{**PLACE, name: outside})) == list(
        sweep.runs("test", **{**PLACE, name: edge})
    )


def test_the_explorer_never_leaves_the_sweep(made, sweep):
    """What it calls a stored accuracy is never an edge that stands for something else."""
    for name, axis in zip(vertical.AXES, sweep.grid, strict=True):
        values = made["vertical"].controls[name].values
        assert axis[0] <= min(values) and max(values) <= axis[-1]


def test_the_stored_sweep_is_whole_and_says_where_it_comes_from(stored):
    content, cells = stored
    script = sweeps.script("vertical_scaling")
    grid = itertools.product(script.KINDS, script.SAMPLES, script.DEPTHS, script.WIDTHS)
    assert len(content["cells"]) == 200 and list(cells) == list(grid)
    assert sweeps.says_where_it_comes_from(content, script.SEEDS)
    for cell in cells.values():
        assert cell["lr"] in content["lrs"] == list(script.LRS)
        for split in ("train", "test"):
            assert len(cell[split]) == 3 and all(0 <= value <= 1 for value in cell[split])


def test_the_stored_sweep_shows_what_notebook_01_says(stored):
    """Shortcuts save depth, width and data help, and what is to be found is there."""
    test = {key: np.mean(cell["test"]) for key, cell in stored[1].items()}
    for n in (500, 2000, 8000, 32000):
        assert test["residual", n, 16, 32] > test["plain", n, 16, 32] + 0.01
        assert test["plain", n, 2, 128] > test["plain", n, 2, 8] + 0.05
    shapes = list(itertools.product(("plain", "residual"), (1, 2, 4, 8, 16), (16, 32, 64, 128)))
    for kind, depth, width in shapes:
        assert test[kind, 32000, depth, width] > test[kind, 500, depth, width] + 0.03
        few, many = (stored[1][kind, n, depth, width] for n in (500, 32000))
        assert gap(few) > 3 * gap(many)
    gains = [test[k, 32000, d, w] - test[k, 2000, d, w] for k, d, w in shapes]
    assert min(gains) < 0.02 < 0.05 < max(gains)
    assert min(test.values()) < 0.6 < max(test.values())


def drawn(explorer):
    """The data of what moves in the explorer of notebook 01."""
    bars, arcs, points = explorer.picture.art
    return {
        "bars": [path.vertices.tolist() for path in bars.get_paths()],
        "arcs": np.nan_to_num(arcs.get_data()).tolist(),
        "points": [list(data) for data in points.get_data()],
    }


def gap(cell):
    return np.mean(cell["train"]) - np.mean(cell["test"])
