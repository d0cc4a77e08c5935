"""Proves that `parallel.run` tells every fault of a rank, its caller or its machine within seconds,
and leaves no process, socket, lock or temporary file: forked, spawned, and as on Windows."""

import ctypes
import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from modelscale import parallel
from modelscale.parallel import launch, worker
from processes import gone

resource = pytest.importorskip("resource", reason="Windows has neither limits nor a fork server")
forkserver = pytest.importorskip("multiprocessing.forkserver")

SOON_S = 10  # within which every fault is told


@pytest.fixture(params=["forkserver", "spawn", "windows"])
def method(request, monkeypatch):
    """How ranks are made; "windows" is spawn without signals, process groups and descriptors."""
    monkeypatch.setattr(launch, "_METHOD", request.param.replace("windows", "spawn"))
    monkeypatch.setattr(launch, "_WINDOWS", request.param == "windows")
    return request.param


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """After each test there is no new process, open descriptor, socket or temporary file."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    parallel.warm_up()
    parallel.run(int, ranks=1)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = {"children": children(), "fds": descriptors(), "ports": ports()}
    yield
    assert {"children": children(), "fds": descriptors(), "ports": ports()} == before
    assert list(folder.iterdir()) == []


def children():
    """How many processes this one has started, but for those of the server: none is left there."""
    server = forkserver._forkserver._forkserver_pid
    assert psutil.Process(server).children() == []
    return len(psutil.Process().children())


def descriptors():
    return psutil.Process().num_fds()


def ports():
    return sorted(c.laddr for c in psutil.Process().net_connections() if c.status == "LISTEN")


def failure(fn, *args, **options):
    """The message of the error that a run ends in, soon."""
    new_interpreters_s = 0 if launch._METHOD == "forkserver" else launch._START_S
    soon_s = SOON_S + options.get("timeout_s", 0) + new_interpreters_s
    begin = time.monotonic()
    with pytest.raises(parallel.RankError) as caught:
        parallel.run(fn, *args, **options)
    assert time.monotonic() - begin < soon_s
    return str(caught.value)


@pytest.mark.parametrize("method", ["forkserver", "windows"], indirect=True)
def test_a_raise_is_told_once_with_the_rank_that_failed_first(method):
    def fail():
        if dist.get_rank() == 1:
            raise ValueError("no such layer")
        dist.barrier()

    text = failure(fail)
    assert text.startswith("rank 1 failed first\nTraceback")
    assert text.endswith("ValueError: no such layer")
    assert text.count("Traceback") == 1 and "onnection" not in text
    assert 'raise ValueError("no such layer")' in text and "worker.py" not in text


ENDS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGABRT": os.abort,
    "exited with code 3": lambda: os._exit(3),
    "exited with code 0": lambda: os._exit(0),
    "SystemExit: 4": lambda: sys.exit(4),
}


DEATHS = [("forkserver", told) for told in ENDS] + [("spawn", "SIGKILL"), ("windows", "SIGSEGV")]


@pytest.mark.parametrize(("method", "told"), DEATHS, indirect=["method"])
def test_a_death_is_told_and_not_the_connections_it_cut(method, told):
    def die():
        if dist.get_rank() == 1:
            end()
        dist.all_reduce(torch.ones(1))

    end = ENDS[told]
    text = failure(die)
    assert text.startswith("rank 1 failed first\n") and told in text


def test_a_death_without_a_name_is_told_by_its_number():
    text = failure(lambda: os.kill(os.getpid(), signal.SIGRTMIN + 6))
    assert f"ended by signal {signal.SIGRTMIN + 6} before" in text


def test_what_a_hanging_rank_said_last_is_shown_without_a_line_end(capfd):
    def hang():
        print("about to hang", end="", flush=True)
        time.sleep(100)

    failure(hang, timeout_s=1, ranks=1)
    assert "about to hang" in capfd.readouterr().out


def test_a_function_may_close_what_it_prints_to(tmp_path):
    def closed():
        with (tmp_path / f"{dist.get_rank()}.txt").open("w") as sys.stdout:
            print("hello")
        return 42

    assert parallel.run(closed) == [42, 42]


def test_a_rank_outlives_the_longest_start_of_another():
    assert worker._OVERTIME_S > launch._START_S


def test_ranks_that_disagree_on_a_collective_show_where_each_waits(method):
    def disagree():
        if dist.get_rank() == 0:
            dist.all_reduce(torch.ones(4))
            dist.all_reduce(torch.ones(4))
        else:
            dist.all_reduce(torch.ones(4))
            dist.recv(torch.ones(4), 0)

    text = failure(disagree, timeout_s=1)
    assert text.startswith("not returned after 1 s, and where they wait:\nrank 0:\n")
    first, second = text.split("rank 1:\n")
    assert "in disagree\n    dist.all_reduce(torch.ones(4))" in first and "recv" not in first
    assert "in disagree\n    dist.recv(torch.ones(4), 0)" in second
    assert "worker.py" not in text and "onnection" not in text


def test_a_hang_in_code_that_lets_no_other_thread_run_is_shown():
    def hang():
        if dist.get_rank() == 0:
            sum(range(10**12))  # in C
        if dist.get_rank() == 1:
            time.sleep(100)

    _, first, second, third = failure(hang, ranks=3, timeout_s=1).split("rank ")
    assert first.startswith("0:") and "sum(range(10**12))" in first
    assert second.startswith("1:") and "time.sleep(100)" in second
    assert third == "2:\n  (it has returned)"


def test_ranks_that_disagree_on_a_size_are_told():
    def disagree():
        dist.all_reduce(torch.ones(4 + dist.get_rank()))

    text = failure(disagree, timeout_s=2)
    assert "SIGABRT" in text or "disagree" in text


INTERRUPTS = [("forkserver", 1), ("forkserver", 2), ("spawn", 1), ("windows", 2)]


@pytest.mark.parametrize(("method", "interrupts"), INTERRUPTS, indirect=["method"])
def test_an_interrupt_ends_the_ranks(method, interrupts, tmp_path):
    def interrupt(caller):
        dist.barrier()
        if dist.get_rank() == 1:
            (tmp_path / "begin").write_text(str(time.monotonic()))
            for _ in range(interrupts):
                os.kill(caller, signal.SIGINT)
                time.sleep(0.1)
        time.sleep(100)

    with pytest.raises(KeyboardInterrupt):
        parallel.run(interrupt, os.getpid())
    assert time.monotonic() - float((tmp_path / "begin").read_text()) < SOON_S


def test_an_interrupt_while_ranks_start_leaves_none():
    for delay in (0.0, 0.005, 0.02, 0.05):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            parallel.run(time.sleep, 100, ranks=4)
        assert not multiprocessing.active_children()


def test_a_port_that_is_taken_does_not_matter(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("MASTER_ADDR", "203.0.113.1")  # for documentation: it is nobody's
        assert parallel.run(lambda: os.environ["MASTER_ADDR"]) == ["127.0.0.1"] * 2


def test_a_machine_without_a_free_port_is_told(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket, "create_server", refuse)
    text = failure(int)
    assert text.startswith("0 of 2 ranks were started, then the system refused: [Errno 98] Addr")


def test_a_result_that_cannot_be_pickled_is_named():
    def holder():
        return {"lock": threading.Lock()}

    text = failure(holder)
    assert (
        text.startswith("rank ") and "TypeError: the function returned {'lock': <unlocked" in text
    )
    assert "Return numbers, tensors, or lists" in text


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept")
def test_a_rank_without_memory_says_so():
    def fill():
        if dist.get_rank() == 1:
            used = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
            torch.ones(2**28)
        dist.barrier()

    text = failure(fill)
    assert text.startswith("rank 1 failed first\n") and "can't allocate memory" in text


def test_a_machine_without_room_for_a_rank_is_told(monkeypatch):
    """A server that cannot fork ends: here it is stopped, asked for the third rank, and killed."""
    asked, connect_to_new_process = [], forkserver.connect_to_new_process

    def connect(descriptors):
        asked.append(descriptors)
        if len(asked) != 3:
            return connect_to_new_process(descriptors)
        server = forkserver._forkserver._forkserver_pid
        os.kill(server, signal.SIGSTOP)
        sentinel = connect_to_new_process(descriptors)
        os.kill(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
        return sentinel

    monkeypatch.setattr(forkserver, "connect_to_new_process", connect)
    text = failure(time.sleep, 100, ranks=4)
    assert text.startswith("2 of 4 ranks were started, then the system refused: ")
    assert "short of memory" in text
    assert parallel.run(dist.get_rank) == [0, 1]


def test_a_caller_without_descriptors_is_told():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 12, hard))  # too few for a pipe
    try:
        text = failure(time.sleep, 100, ranks=8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert " of 8 ranks were started, then the system refused: [Errno 24] Too many open" in text


def test_a_server_that_failed_is_replaced():
    """Half a request ends it; the folder of its socket stays for the next one."""
    server = forkserver._forkserver._forkserver_pid
    with socket.socket(socket.AF_UNIX) as half:
        half.connect(forkserver._forkserver._forkserver_address)
    assert gone([server], 60)  # its interpreter ends slowly on a busy machine
    assert parallel.run(dist.get_rank) == [0, 1]


def test_a_server_that_is_not_there_is_no_error(monkeypatch):
    """There was none yet, or it has ended by itself and its number was given up."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (None, ended.pid):
        with monkeypatch.context() as patch:
            patch.setattr(forkserver._forkserver, "_forkserver_pid", pid)
            launch._end_server()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere locks are no files")
def test_a_named_lock_of_a_rank_is_removed():
    def lock(fail):
        sys.held = multiprocessing.get_context("spawn").Lock()  # as modules hold theirs
        name = sys.held._semlock.name
        assert Path(f"/dev/shm/sem.{name[1:]}").exists()
        if fail:
            raise ValueError(name)
        return name

    names = [*parallel.run(lock, False), failure(lock, True).split("ValueError: ")[1]]
    assert len(names) == 3 and all(name.startswith("/mp-") for name in names)
    assert not [name for name in names if Path(f"/dev/shm/sem.{name[1:]}").exists()]
