"""Proves that `parallel.run` starts real ranks with torchrun's surroundings, returns what they
returned, tells how they failed, listens on loopback only, and leaves no process and no file."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
import torch.distributed as dist

from modelscale import parallel
from modelscale.parallel import launch
from processes import gone


@pytest.fixture(autouse=True)
def nothing_left():
    """After each test this process, and the server that it may have, has no new child."""
    parallel.warm_up()
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


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


@pytest.mark.skipif(sys.platform == "win32", reason="there processes have no groups")
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


def test_a_run_within_a_rank_and_another_after_it():
    """The inner server has a folder of its own, and removes no other."""

    def outer(offset):
        return parallel.run(lambda: dist.get_rank() + offset)

    assert parallel.run(outer, 10, ranks=1) == [[10, 11]]
    assert parallel.run(outer, 20, ranks=1) == [[20, 21]]


def test_what_cannot_be_pickled_is_named():
    lock = threading.Lock()

    def holder():
        return lock

    with pytest.raises(ValueError, match=r"fn=.*holder.*lock"):
        parallel.run(holder)
    with pytest.raises(ValueError, match=r"args\[1\]=<unlocked .*lock"):
        parallel.run(print, 1, lock)


def test_nothing_listens_beyond_loopback(monkeypatch):
    """... although the environment names an interface that is, where there is one."""

    def listening(caller):
        dist.barrier()
        sockets = [psutil.Process(pid).net_connections() for pid in (os.getpid(), caller)]
        dist.barrier()
        return [[s.laddr.ip for s in own if s.status == psutil.CONN_LISTEN] for own in sockets]

    others = [name for name in psutil.net_if_addrs() if not name.startswith("lo")]
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", (others or ["lo"])[0])
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


@pytest.mark.parametrize("windows", [False, True])
def test_without_a_fork_server_the_same_is_returned(monkeypatch, capsys, windows):
    """The second is as on Windows: without signals, process groups and inherited descriptors."""
    offset = 10

    def sum_of_ranks():
        total = torch.tensor(dist.get_rank() + offset)
        dist.all_reduce(total)
        print("sum", total.item())
        return total.item(), dist.get_rank(), any("spawn_main" in word for word in sys.orig_argv)

    monkeypatch.setattr(launch, "_METHOD", "spawn")
    monkeypatch.setattr(launch, "_WINDOWS", windows)
    assert parallel.run(sum_of_ranks) == [(21, 0, True), (21, 1, True)]
    assert sorted(capsys.readouterr().out.splitlines()) == ["[rank 0] sum 21", "[rank 1] sum 21"]
