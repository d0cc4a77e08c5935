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
import signal
import socket
import sys
import time
from collections.abc import Callable

import cloudpickle

from .. import check
from . import entry, worker
from .screen import Screen
from .team import RankError, Team

_METHOD = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
_WINDOWS = sys.platform == "win32"
_PRELOAD = ["modelscale.parallel.worker", "cloudpickle", "torch", "torch.distributed"]
_START_S = 120  # for new interpreters to import torch, from a slow disk too
_LONGEST_S = 1e6  # eleven days: longer waits overflow the system's calls
_GRACE_S = 0.1  # for reports under way when a rank has failed
_LOST_GRACE_S = 2.0  # the same, when the cause of a lost connection is still to come


def run(fn: Callable, *args, ranks: int = 2, timeout_s: float = 60) -> list:
    """What `fn(*args)` returned on each of `ranks` processes, by rank.

    On each, a process group is initialised before `fn` is called (gloo; nccl for tensors on GPUs,
    where each rank has one), the environment is torchrun's, and one thread computes. What a rank
    prints appears at once as `[rank 1] ...`, and what it tells by `report` beside it. The time
    counts from when all ranks are ready to call `fn`.

    Raises: ValueError for arguments out of bounds, or that cannot be pickled. RankError where a
    rank cannot be started, raises, dies or has not returned in time.
    """
    ranks = check.integer("ranks", ranks, 1, 64, "every rank is a process on this machine")
    timeout_s = check.number("timeout_s", timeout_s, remedy="give the run some seconds")
    if not callable(fn):
        check.refuse("fn", fn, "a function", "pass it without calling it")
    payload, timeout_s = _packed(fn, args), min(timeout_s, _LONGEST_S)
    team, screen = Team(), Screen()
    try:
        _start(team, payload, ranks, timeout_s)
        _wait(team, screen, timeout_s)
        return [cloudpickle.loads(rank.report[2]) for rank in team.ranks]
    except KeyboardInterrupt:
        raise KeyboardInterrupt("all ranks have been ended") from None
    finally:
        team.end()
        screen.close(cleared=not team.failed() and not team.waiting())


def warm_up(*modules: str) -> None:
    """Start, in the background, the server that ranks are forked from. Returns at once.

    Later calls do nothing while it runs. Call it early, and the first `run` is as fast as others.
    `modules` are imported once, by the server, in place of once by every rank of every run: name
    those that take long, as "torch._dynamo", which torch wants for its first optimizer.
    """
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        mp.get_context(_METHOD).set_forkserver_preload([*_PRELOAD, *modules])
        forkserver.ensure_running()


def _packed(fn, args):
    """`fn` and `args` as bytes, functions of cells and scripts by value."""
    try:
        return cloudpickle.dumps((fn, args))
    except Exception as error:  # pickling runs code of the values' own classes
        cause, culprit = error, f"fn={fn!r}"
    for i, value in enumerate(args):
        try:
            cloudpickle.dumps(value)
        except Exception:
            culprit = f"args[{i}]={repr(value)[:200]}"
            break
    raise ValueError(
        f"{culprit}: it cannot be sent to the ranks ({cause}). It must hold only what can be "
        "pickled. Make locks, open files and generators inside the function."
    )


def _start(team, payload, ranks, timeout_s):
    """Add the started ranks to `team`, one by one."""
    try:
        warm_up()
        job = _job(payload, ranks, _open_store(team), timeout_s)
        for _ in range(ranks):
            team.add(mp.get_context(_METHOD), job)
        return
    except (OSError, EOFError) as error:  # no port, no descriptor, no process, no memory for one
        cause = str(error) or "no process could be made"
    _end_server()
    started = sum(rank.process.pid is not None for rank in team.ranks)
    raise RankError(
        f"{started} of {ranks} ranks were started, then the system refused: {cause}. "
        "It may be short of memory, processes, open files or ports: end other programs, "
        "or ask for fewer ranks."
    )  # raised here, it holds no descriptors


def _open_store(team):
    """The port of a new store, in this process: no race for a free port."""
    from torch.distributed import TCPStore

    # Left to itself the store listens on every interface of the machine.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ours = {"is_master": True, "wait_for_workers": False, "master_listen_fd": listener.detach()}
    team.store = TCPStore("127.0.0.1", port, **ours)
    return port


def _end_server():
    """End the server, which may be half-way in a request: the next run starts another."""
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        with contextlib.suppress(OSError, TypeError):  # it has ended, or there is none
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
            os.waitid(os.P_PID, forkserver._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)


def _job(payload, ranks, port, timeout_s):
    env = dict(os.environ, WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), OMP_NUM_THREADS="1")
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), entry.LIVE: "1"}
    env["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # no rank opens a store of its own
    entry.keep_to_loopback(env)
    cells = {name: e for name, e in linecache.cache.items() if len(e) == 4 and e[1] is None}
    return worker.Job(payload, env, cells, timeout_s, _WINDOWS)


def _wait(team, screen, timeout_s):
    """Show what the ranks print until all have returned. Raises: RankError where one has not."""
    end, counting = time.monotonic() + _START_S, False
    while team.waiting() and (left := end - time.monotonic()) > 0:
        team.listen(screen, min(left, screen.due_s()))
        if not counting and all(rank.ready for rank in team.ranks):
            end, counting = time.monotonic() + timeout_s, True
        if failed := team.failed():
            grace = _LOST_GRACE_S if all(rank.lost() for rank in failed) else _GRACE_S
            end, counting = min(end, time.monotonic() + grace), True
    team.listen(screen, 0, last=True)  # what has no line end is what a rank said last
    if team.failed():
        raise RankError(team.blame())
    if team.waiting():
        raise RankError(team.overdue(timeout_s if counting else None))
