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
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait

import cloudpickle

from .. import check
from . import entry, failures, worker
from .failures import RankError
from .screen import Screen
from .team import Team

_METHOD = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
_WINDOWS = sys.platform == "win32"
_PRELOAD = ["modelscale.parallel.worker", "cloudpickle", "torch", "torch.distributed"]
_START_S = 120  # for new interpreters to import torch, from a slow disk too
_LONGEST_S = 1e6  # eleven days: longer waits overflow the system's calls
_GRACE_S = 0.1  # for reports under way when a rank has failed
_LOST_GRACE_S = 2.0  # the same, when the cause of a lost connection is still to come
_STACKS_S = 0.3  # for the ranks to say where they wait


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
        raise ValueError(f"fn={fn!r}: it must be a function. Pass it without calling it.")
    payload, timeout_s = _packed(fn, args), min(timeout_s, _LONGEST_S)
    team, screen = Team(), Screen()
    try:
        _start(team, payload, ranks, timeout_s)
        return _collect(team, screen, timeout_s)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("all ranks have been ended") from None
    finally:
        team.end()
        screen.close(cleared=not team.failed() and not team.waiting())


def warm_up(*modules: str) -> None:
    """Returns at once; the server that ranks are forked from starts in the background.

    Later calls do nothing while it runs. Call it early, and the first `run` is as fast as others.
    `modules` are imported once, by the server, in place of once by every rank of every run: name
    those that take long, as "torch._dynamo", which torch wants for its first optimizer.
    """
    if _METHOD != "forkserver":
        return
    from multiprocessing import forkserver

    mp.get_context(_METHOD).set_forkserver_preload([*_PRELOAD, *modules])
    forkserver.ensure_running()


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


def _start(team, payload, ranks, timeout_s):
    """Adds the started ranks to `team`, one by one."""
    try:
        warm_up()
        job = _job(payload, ranks, team.open_store(), timeout_s)
        for _ in range(ranks):
            team.start_rank(mp.get_context(_METHOD), job)
        return
    except (OSError, EOFError) as error:  # no port, no descriptor, no process, no memory for one
        cause = str(error)
    _end_server()
    raise RankError(failures.not_started(len(team.ranks), ranks, cause))  # holds no descriptors


def _end_server():
    """Ends the server, which may be half-way in a request: the next run starts another."""
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        with contextlib.suppress(OSError, TypeError):  # it has ended, or there is none
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
            os.waitid(os.P_PID, forkserver._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)


def _job(payload, ranks, port, timeout_s):
    env = dict(os.environ, WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), OMP_NUM_THREADS="1")
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    env["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # no rank opens a store of its own
    env[entry.LIVE] = "1"
    entry.keep_to_loopback(env)
    cells = {name: e for name, e in linecache.cache.items() if len(e) == 4 and e[1] is None}
    return worker.Job(payload, env, cells, timeout_s, _WINDOWS)


def _collect(team, screen, timeout_s):
    """What each rank returned, as soon as all have; what they print meanwhile is shown."""
    end, counting = time.monotonic() + _START_S, False
    while team.waiting():
        if not counting and all(rank.ready for rank in team.ranks):
            end, counting = time.monotonic() + timeout_s, True
        left = end - time.monotonic()
        if left <= 0:
            break
        wait(team.sources(), min(left, screen.due_s()))
        for rank in team.ranks:
            screen.show(rank.number, rank.listen())
        if failed := team.failed():
            grace = _LOST_GRACE_S if all(map(failures.is_lost, failed)) else _GRACE_S
            end, counting = min(end, time.monotonic() + grace), True
    if not team.failed() and team.waiting():
        for rank in team.ranks:  # what has no line end is what it said last
            screen.show(rank.number, rank.listen(), last=True)
        team.listen_for_stacks(_STACKS_S)
        raise RankError(failures.overdue(team.ranks, timeout_s if counting else None))
    for rank in team.ranks:
        screen.show(rank.number, rank.listen(), last=True)
    if failed := team.failed():
        raise RankError(failures.blame(failed))
    return [rank.result() for rank in team.ranks]
