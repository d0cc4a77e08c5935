"""Proves that `parallel.run` starts real ranks with torchrun's surroundings, returns what they
returned, tells how they failed, listens on loopback only, and leaves no process and no file."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver

import psutil
import pytest
import torch
import torch.distributed as dist

from modelscale import parallel
from modelscale.parallel import launch
from processes import gone


@pytest.fixture(autouse=True)
def nothing_left():
    """After each test the fork server has no child, and this process no other new child."""
    parallel.warm_up()
    before = set(psutil.Process().children())
    yield
    if server := forkserver._forkserver._forkserver_pid:
        assert psutil.Process(server).children() == []
    server_now = {psutil.Process(server)} if server else set()
    assert set(psutil.Process().children()) <= before | server_now


def test_ranks_have_a_group_and_the_environment_of_torchrun():
    offset = 10

    def sum_of_ranks(x):
        total = x * (dist.get_rank() + offset)
        dist.all_reduce(total)
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
        return total, [os.environ[name] for name in names], torch.get_num_threads()

    results = parallel.run(sum_of_ranks, torch.ones(2), ranks=3)
    assert [env for _, env, _ in results] == [[r, r, "3", "3", "127.0.0.1"] for r in "012"]
    assert all(torch.equal(total, torch.full((2,), 33.0)) for total, _, _ in results)
    assert [threads for *_, threads in results] == [1, 1, 1]


def test_the_environment_is_the_callers_of_now(monkeypatch):
    monkeypatch.setenv("MODELSCALE_TEST", "now")
    assert parallel.run(lambda: os.environ["MODELSCALE_TEST"], ranks=1) == ["now"]


def test_the_group_times_out_after_the_run_so_that_the_stacks_are_seen():
    def timeout():
        return dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds()

    assert parallel.run(timeout, ranks=1, timeout_s=41)[0] > 41


def test_ranks_leave_together():
    """One that left early would cut the connections of those still at work."""

    def late():
        pids = [None] * dist.get_world_size()
        dist.all_gather_object(pids, os.getpid())
        if dist.get_rank() == 1:
            time.sleep(0.5)
        return [psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids]

    assert parallel.run(late)[1] == [True, True]


def test_lines_arrive_marked_while_the_rank_runs(capfd, monkeypatch, tmp_path):
    """The rank returns only once the caller has shown its first line."""

    class Stdout:
        def write(self, text):
            lines.append(text)
            if "first" in text:
                (tmp_path / "seen").touch()

        def flush(self):
            pass

    def printer():
        print("first é")
        while not (tmp_path / "seen").exists():
            time.sleep(0.01)
        print("error", file=sys.stderr)
        subprocess.run(["echo", "child"], check=True)
        print("unfinished", end="")

    lines = []
    monkeypatch.setattr(sys, "stdout", Stdout())
    parallel.run(printer, ranks=1, timeout_s=20)
    shown = ["first é", "error", "child", "unfinished"]
    assert "".join(lines) == "".join(f"[rank 0] {line}\n" for line in shown)


def test_a_raise_is_told_once_with_the_rank_that_failed_first():
    def fail():
        if dist.get_rank() == 1:
            raise ValueError("no such layer")
        dist.barrier()

    with pytest.raises(parallel.RankError) as caught:
        parallel.run(fail, ranks=3)
    text = str(caught.value)
    assert text.startswith("rank 1 failed first\nTraceback")
    assert text.endswith("ValueError: no such layer")
    assert text.count("Traceback") == 1 and "onnection" not in text
    assert 'raise ValueError("no such layer")' in text and "worker.py" not in text


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda: ctypes.string_at(0), "SIGSEGV"),
        (os.abort, "SIGABRT"),
        (lambda: os._exit(3), "exited with code 3"),
        (lambda: os._exit(0), "exited with code 0"),
        (lambda: sys.exit(4), "SystemExit: 4"),
    ],
)
def test_a_death_is_told_and_not_the_connections_it_cut(end, told):
    def die():
        if dist.get_rank() == 1:
            end()
        dist.all_reduce(torch.ones(1))

    with pytest.raises(parallel.RankError, match=f"(?s)rank 1 failed first\n.*{told}"):
        parallel.run(die, timeout_s=20)


def test_a_dead_ranks_own_children_end_too(tmp_path):
    def parent_of_a_sleeper():
        if dist.get_rank() == 0:
            child = subprocess.Popen(["sleep", "100"])
            (tmp_path / "pid").write_text(str(child.pid))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(100)

    with pytest.raises(parallel.RankError, match="rank 0 failed first"):
        parallel.run(parent_of_a_sleeper)
    assert gone([int((tmp_path / "pid").read_text())])


def test_a_timeout_shows_where_each_rank_waits():
    def hang():
        if dist.get_rank() == 0:
            dist.recv(torch.ones(1), 1)
        if dist.get_rank() == 1:
            sum(range(10**12))  # in C, without ever letting another thread run

    with pytest.raises(parallel.RankError, match="not returned after 1 s") as caught:
        parallel.run(hang, ranks=3, timeout_s=1)
    _, first, second, third = str(caught.value).split("rank ")
    assert first.startswith("0:") and "dist.recv(torch.ones(1), 1)" in first
    assert second.startswith("1:") and "sum(range(10**12))" in second
    assert third == "2:\n  (it has returned)"


def test_an_interrupt_returns_at_once():
    def interrupt(caller):
        if dist.get_rank() == 1:
            os.kill(caller, signal.SIGINT)
        time.sleep(100)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel.run(interrupt, os.getpid())
    assert time.monotonic() - start < 30


def test_what_cannot_be_pickled_is_named():
    lock = threading.Lock()

    def holder():
        return lock

    with pytest.raises(ValueError, match=r"fn=.*holder.*lock"):
        parallel.run(holder)
    with pytest.raises(ValueError, match=r"args\[1\]=<unlocked .*lock"):
        parallel.run(print, 1, lock)
    with pytest.raises(parallel.RankError, match=r"(?s)rank 0 failed first.*returned <unlocked"):
        parallel.run(threading.Lock, ranks=1)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ranks", {"ranks": 0}),
        ("ranks", {"ranks": 65}),
        ("ranks", {"ranks": 2.0}),
        ("timeout_s", {"timeout_s": 0}),
        ("timeout_s", {"timeout_s": float("inf")}),
    ],
)
def test_arguments_out_of_bounds_are_refused(name, arguments):
    with pytest.raises(ValueError, match=f"{name}="):
        parallel.run(print, **arguments)


def test_a_call_in_place_of_a_function_is_refused():
    with pytest.raises(ValueError, match="fn=None: it must be a function"):
        parallel.run(None)


def test_nothing_listens_beyond_loopback():
    def listening(caller):
        dist.barrier()
        sockets = [psutil.Process(pid).net_connections() for pid in (os.getpid(), caller)]
        dist.barrier()
        return [[s.laddr.ip for s in own if s.status == psutil.CONN_LISTEN] for own in sockets]

    for own, callers in parallel.run(listening, os.getpid()):
        assert own and set(own) <= {"127.0.0.1", "::1"}
        assert callers and set(callers) <= {"127.0.0.1", "::1"}


def test_the_store_is_closed_after_a_failure_whose_traceback_is_kept():
    def ports():
        return [s.laddr for s in psutil.Process().net_connections() if s.status == "LISTEN"]

    before = ports()
    with pytest.raises(parallel.RankError) as caught:
        parallel.run(lambda: 1 / 0, ranks=1)
    assert ports() == before and caught.tb is not None


def test_without_a_fork_server_the_same_is_returned(monkeypatch):
    def rank_and_origin():
        return dist.get_rank(), any("spawn_main" in word for word in sys.orig_argv)

    monkeypatch.setattr(launch, "_METHOD", "spawn")
    assert parallel.run(rank_and_origin) == [(0, True), (1, True)]
