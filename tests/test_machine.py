"""Proves that predicted step times follow from the measured table, and that the cache is sound.

The table here is made up, so that every time can be computed by hand; real machines are measured
in notebook 00.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from modelscale import count, machine
from modelscale.count.operations import Operation, training_step
from modelscale.dial import describe_machine

FLAT = machine.Machine(
    description=describe_machine(),
    device="cpu",
    date="2000-01-01",
    product_flops_per_s={"float32": [[8, 1e10], [1024, 1e10]], "bfloat16": [[8, 4e10]]},
    copy_bytes_per_s=[[1e3, 1e9], [1e9, 1e9]],
    operation_s=1e-5,
    step_s=1e-4,
)


def test_rates_are_read_off_on_straight_lines_between_logarithms():
    box = replace(FLAT, copy_bytes_per_s=[[10, 1.0], [1000, 100.0]])
    found = [box.bytes_per_s(moved) for moved in (1, 100, 1e9)]
    assert found == pytest.approx([1, 10, 100])  # beyond an end, the end


def test_an_operation_takes_the_longer_of_computing_and_moving():
    op = Operation("product", bytes=4e6, product=(100, 100, 100), calls=5)
    computing, moving = FLAT.operation_time_s(op)
    assert computing == pytest.approx(5 * 2e6 / 1e10) and moving == pytest.approx(5 * 4e6 / 1e9)


@pytest.mark.parametrize("width", [16, 2048])
def test_a_step_is_the_sum_of_its_operations_and_their_starts(width):
    shape = count.MLP(depth=3, width=width)
    ops = training_step(shape, 64)
    prediction = machine.predict_step(FLAT, shape, 64)
    worked = sum(max(FLAT.operation_time_s(op)) for op in ops)
    started = sum(op.calls for op in ops) * 1e-5 + 1e-4
    assert prediction.step_s == pytest.approx(worked + started)
    assert prediction.flops == shape.matmul_flops(64, training=True)
    on_gpu = machine.predict_step(replace(FLAT, device="cuda:0"), shape, 64)
    assert on_gpu.step_s == pytest.approx(max(worked, started))


def test_numbers_of_eight_bytes_take_longer_to_move():
    tables = {name: [[8, 1e30]] for name in ("float32", "float64")}  # computing takes no time
    fast = replace(FLAT, product_flops_per_s=tables, operation_s=0.0, step_s=0.0)
    shape, steps = count.MLP(3, 64), {}
    for name, size in (("float32", 4), ("float64", 8)):
        steps[name] = machine.predict_step(fast, shape, 64, name).step_s
        moved = (max(fast.operation_time_s(op, name)) for op in training_step(shape, 64, size))
        assert steps[name] == pytest.approx(sum(moved))
    assert steps["float64"] > 1.3 * steps["float32"]


def test_measuring_gives_sane_tables(monkeypatch):
    monkeypatch.setattr(machine, "PRODUCT_SIZES", {"cpu": (16, 128)})
    monkeypatch.setattr(machine, "COPY_BYTES", {"cpu": (2**16, 2**20)})
    found = machine._measure(dtypes=("float32",), budget_s=0.5)
    (small, slow), (large, fast) = found.product_flops_per_s["float32"]
    assert (small, large) == (16, 128) and 1e6 < slow < fast < 1e13
    assert all(1e7 < rate < 1e13 for _, rate in found.copy_bytes_per_s)
    assert 0 < found.operation_s < 0.1 and found.step_s >= 0


def test_a_deep_network_takes_longer_than_a_shallow_one_as_predicted_and_as_measured():
    shallow, deep = count.MLP(depth=1, width=8), count.MLP(depth=40, width=8)
    for step_s in (
        lambda shape: machine.predict_step(FLAT, shape, 8).step_s,
        lambda shape: machine.step_s(shape, 8, seconds=0.2),
    ):
        assert step_s(shallow) < step_s(deep)


def test_the_machine_is_measured_once_and_then_read(tmp_path, monkeypatch):
    path, calls = tmp_path / "cache" / "machine.json", []
    monkeypatch.setattr(machine, "_measure", lambda device: calls.append(device) or FLAT)
    assert machine.load(path=path) == FLAT == machine.load(path=path)
    assert calls == ["cpu"]
    assert machine.load(path=path, refresh=True) == FLAT and len(calls) == 2
    assert [p.name for p in path.parent.iterdir()] == ["machine.json"]


def test_a_damaged_or_foreign_cache_is_measured_anew(tmp_path, monkeypatch):
    path, calls = tmp_path / "machine.json", []
    monkeypatch.setattr(machine, "_measure", lambda device: calls.append(device) or FLAT)
    for damaged in ("{", "[1]", '{"no": "machine"}'):
        path.write_text(damaged)
        with pytest.warns(UserWarning, match="is damaged"):
            assert machine.load(path=path) == FLAT
    path.write_text(json.dumps(asdict(replace(FLAT, description="another machine"))))
    assert machine.load(path=path) == FLAT
    assert len(calls) == 4


def test_two_may_measure_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_measure", lambda device: FLAT)
    path, plain, calls = tmp_path / "machine.json", Path.replace, []

    def second_comes_between(self, target):
        calls.append(self)
        if len(calls) == 1:
            machine.load(refresh=True, path=path)
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", second_comes_between)
    assert machine.load(refresh=True, path=path) == FLAT
    assert [p.name for p in tmp_path.iterdir()] == ["machine.json"]


def test_a_cache_that_cannot_be_written_costs_a_warning_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_measure", lambda device: FLAT)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be written"):
        assert machine.load(path=tmp_path / "file" / "machine.json") == FLAT


@pytest.mark.parametrize("device", ["gpu", "cuda", torch.device("cuda", 1)])
def test_what_is_not_here_is_named(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device="):
        machine._measure(device)
    with pytest.raises(ValueError, match="dtype='int8'"):
        machine.predict_step(FLAT, count.MLP(2, 8), 8, "int8")
