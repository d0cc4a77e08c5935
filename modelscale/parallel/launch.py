"""Runs a function on fresh processes, from a notebook cell or a script: the caller's side.

Ranks are forked from a server: a clean interpreter that has imported torch and started no thread.
Forking the notebook itself would deadlock after its first threaded matrix product, and a new
interpreter takes a second or more to import torch. Where nothing can be forked (Windows), every
rank is such a new interpreter.
"""

import contextlib
import linecache
import multiprocessing as mp
import os
import re
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable
from itertools import takewhile
from multiprocessing.connection import wait

import cloudpickle

from .. import check
from . import entry, worker

_METHOD = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
_PRELOAD = ["modelscale.parallel.worker", "cloudpickle", "torch", "torch.distributed"]
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # the interface's name, by platform
_LONGEST_S = 1e6  # eleven days: longer waits overflow the system's calls
_GRACE_S = 0.1  # for reports under way when a rank has failed
_LOST_GRACE_S = 2.0  # the same, when the cause of a lost connection is still to come
_STACKS_S = 0.3  # for the ranks to say where they wait
_LOST = re.compile(r"Connection (closed|reset|refused)|Broken pipe|Socket closed", re.IGNORECASE)
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')  # as faulthandler writes it
_STARTING = threading.Lock()


class RankError(RuntimeError):
    """A rank raised, died, or had not returned in time: the message says which, and where."""


def run(fn: Callable, *args, ranks: int = 2, timeout_s: float = 60) -> list:
    """What `fn(*args)` returned on each of `ranks` processes, by rank.

    On each, a process group (gloo, with a timeout of `timeout_s`) is initialised before `fn` is
    called, the environment is torchrun's, and one thread computes. What a rank prints appears as
    `[rank 1] ...`. The time counts from when all ranks are started.

    Raises: ValueError for arguments out of bounds, or that cannot be pickled. RankError where a
    rank raises, dies or has not returned in time.
    """
    ranks = check.integer("ranks", ranks, 1, 64, "every rank is a process on this machine")
    timeout_s = check.number("timeout_s", timeout_s, remedy="give the run some seconds")
    timeout_s = min(timeout_s, _LONGEST_S)
    if not callable(fn):
        raise ValueError(f"fn={fn!r}: it must be a function. Pass it without calling it.")
    payload = _packed(fn, args)
    warm_up()
    store = _open_store()
    job = _job(payload, ranks, store.port, timeout_s)
    team = [_Rank(number, job) for number in range(ranks)]
    try:
        for rank in team:
            rank.start()
        return _collect(team, timeout_s)
    finally:
        _end(team)
        del store  # a traceback that is kept would keep it listening


def warm_up() -> None:
    """Returns at once; the server that ranks are forked from starts in the background.

    Later calls do nothing while it runs. Call it early, and the first `run` is as fast as others.
    """
    if _METHOD != "forkserver":
        return
    from multiprocessing import forkserver

    mp.get_context(_METHOD).set_forkserver_preload(_PRELOAD)
    forkserver.ensure_running()


class _Rank:
    """The caller's end of one rank."""

    def __init__(self, number, job):
        context = mp.get_context(_METHOD)
        self.number = number
        self.pipe, self.far_pipe = context.Pipe()
        self.output, self.far_output = context.Pipe(duplex=False)
        self.process = context.Process(
            target=worker.main, args=(number, job, self.far_pipe, self.far_output)
        )
        self.open = {self.pipe, self.output}  # what can still be read
        self.report = None  # (kind, time, what the function returned or how it failed)
        self.partial = b""  # the beginning of a line

    def start(self):
        with self.far_pipe, self.far_output, _hidden_main():
            self.process.start()

    def listen(self, last=False):
        """Takes in what the rank has said, and prints its lines: the `last`, whole or not."""
        ended = self.process.exitcode is not None  # asked first: all it said can now be read
        for line in self.lines(last):
            print(f"[rank {self.number}] {line}", flush=True)
        if self.report is None and self.pipe in self.open:
            try:
                self.report = self.pipe.recv() if self.pipe.poll() else None
            except (EOFError, OSError):  # it died, perhaps in the middle of its report
                self.open.remove(self.pipe)
        if self.report is None and ended:
            self.report = ("failure", time.monotonic(), _death(self.process.exitcode))

    def lines(self, last=False):
        """The lines that the rank has printed and that nobody has read."""
        try:
            self.partial += _read(self.output) if self.output in self.open else b""
        except (EOFError, OSError):
            self.open.remove(self.output)
        if last and self.partial:
            self.partial += b"\n"
        *lines, self.partial = self.partial.replace(b"\r", b"\n").split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def let_go(self):
        with contextlib.suppress(OSError):  # it has died
            self.pipe.send("you may go")

    def end(self):
        """Ends the process, and those it started, if they have not ended by themselves."""
        self.let_go()  # also one whose start was interrupted, so that its number is not known
        if self.process.pid is None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()


def _packed(fn, args):
    """`fn` and `args` as bytes, functions of cells and scripts by value."""
    try:
        return cloudpickle.dumps((fn, args))
    except Exception as error:  # pickling runs code of the values' own classes
        raise ValueError(
            f"{_culprit(fn, args)}: it cannot be sent to the ranks ({error}). It must hold only "
            "what can be pickled. Make locks, open files and generators inside the function."
        ) from None


def _culprit(fn, args):
    """The name and value of the first that cannot be pickled."""
    for i, value in enumerate(args):
        try:
            cloudpickle.dumps(value)
        except Exception:  # the caller tells the error
            return f"args[{i}]={repr(value)[:200]}"
    return f"fn={fn!r}"


def _open_store():
    """The store where ranks find each other, in this process: no race for a free port."""
    from torch.distributed import TCPStore

    # Left to itself the store listens on every interface of the machine.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    fd = listener.detach()
    return TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=fd)


def _job(payload, ranks, port, timeout_s):
    env = dict(os.environ, WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), OMP_NUM_THREADS="1")
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    env["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # no rank opens a store of its own
    env[entry.LIVE] = "1"
    env.pop("GLOO_SOCKET_IFNAME", None)
    if sys.platform in _LOOPBACK:
        env["GLOO_SOCKET_IFNAME"] = _LOOPBACK[sys.platform]
    cells = {name: e for name, e in linecache.cache.items() if len(e) == 4 and e[1] is None}
    return worker.Job(payload, env, cells, timeout_s)


@contextlib.contextmanager
def _hidden_main():
    """A new process would run the caller's script once more: it is shown an empty one instead."""
    with _STARTING:
        main = sys.modules["__main__"]
        try:
            sys.modules["__main__"] = types.ModuleType("__main__")
            yield
        finally:
            sys.modules["__main__"] = main


def _collect(team, timeout_s):
    """What each rank returned, as soon as all have; what they print meanwhile is printed."""
    end = time.monotonic() + timeout_s
    failures = []
    while waiting := [rank for rank in team if rank.report is None]:
        left = end - time.monotonic()
        if left <= 0:
            break
        wait([s for rank in waiting for s in (*rank.open, rank.process.sentinel)], left)
        for rank in team:
            rank.listen()
        failures = [rank for rank in team if rank.report and rank.report[0] == "failure"]
        if failures:
            lost = all(_LOST.search(rank.report[2]) for rank in failures)
            end = min(end, time.monotonic() + (_LOST_GRACE_S if lost else _GRACE_S))
    if waiting and not failures:
        raise RankError(_overdue(waiting, timeout_s))
    for rank in team:
        rank.listen(last=True)
    if failures:
        raise RankError(_blame(failures))
    for rank in team:
        rank.let_go()
    for rank in team:
        rank.process.join(1)
    return [_unpacked(rank) for rank in team]


def _read(output):
    """The bytes that are there. Raises: EOFError or OSError at their end."""
    if not output.poll():
        return b""
    if sys.platform == "win32":
        return output.recv_bytes()
    data = os.read(output.fileno(), 1 << 20)  # more than a pipe holds
    if not data:
        raise EOFError
    return data


def _unpacked(rank):
    try:
        return cloudpickle.loads(rank.report[2])
    except Exception as error:  # unpickling runs code of the result's own classes
        raise RankError(f"rank {rank.number}'s result cannot be read here: {error!r}") from error


def _death(exitcode):
    """How a rank ended that could not report."""
    if exitcode >= 0:
        return f"It exited with code {exitcode} before the function returned."
    hint = " (was memory short?)" if -exitcode == getattr(signal, "SIGKILL", None) else ""
    return f"It was ended by {signal.Signals(-exitcode).name}{hint} before the function returned."


def _blame(failures):
    """The story of the rank that failed first: the others only lost their connection to it."""
    first = min(failures, key=lambda rank: (bool(_LOST.search(rank.report[2])), rank.report[1]))
    return f"rank {first.number} failed first\n{first.report[2]}"


def _overdue(waiting, timeout_s):
    """Where each rank that has not returned waits, innermost call last."""
    frames = {rank.number: [] for rank in waiting}
    if hasattr(signal, "SIGUSR1"):
        for rank in waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank.process.pid, signal.SIGUSR1)
        end = time.monotonic() + _STACKS_S
        while (left := end - time.monotonic()) > 0:
            wait([rank.output for rank in waiting if rank.output in rank.open], left)
            for rank in waiting:
                frames[rank.number] += filter(None, map(_FRAME.fullmatch, rank.lines()))
    stacks = "\n".join(f"rank {number}:\n{_stack(found)}" for number, found in frames.items())
    return f"not returned after {timeout_s:g} s, and where they wait:\n{stacks}"


def _stack(frames):
    """The caller's part of a stack, with its source lines."""
    own = [m.groups() for m in takewhile(lambda m: m[1] != worker.__file__, frames)]
    text = [
        f'  File "{file}", line {line}, in {name}\n    {linecache.getline(file, int(line)).strip()}'
        for file, line, name in reversed(own)
    ]
    return "\n".join(text) or "  (it does not say)"


def _end(team):
    """Leaves no process and no open connection."""
    for rank in team:
        rank.end()
    for rank in team:
        if rank.process.pid is not None:
            rank.process.join()
            rank.process.close()
        rank.pipe.close()
        rank.output.close()
