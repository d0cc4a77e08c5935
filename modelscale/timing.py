"""Seconds of a piece of work: the thread's own, or those of the clock on the wall.

The two are never compared with one another: a thread's own seconds leave out what other programs
take and what the work waits for, and a wall's leave out nothing.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from . import check

SHORTEST_S = 1e-4  # shorter work is repeated within one timing


def thread_s(work: Callable, device="cpu", seconds: float = 0.1, least: int = 5) -> float:
    """The median seconds of one call of `work` in this thread, over about `seconds`.

    On a GPU they are the wall's, and on Windows, which counts a thread's in steps of 16 ms.
    """
    on_wall = torch.device(device).type == "cuda" or os.name == "nt"
    wait, clock = _waiting(device), time.perf_counter if on_wall else time.thread_time
    _timed(work, 1, wait, clock)
    repeats, times, end = 1, [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        took = _timed(work, repeats, wait, clock)
        if took < SHORTEST_S:  # too short to time: not counted
            repeats *= 2
        else:
            times.append(took / repeats)
    return median(times)


def in_turn_s(
    ways: dict[str, Callable], rounds: int = 20, device="cpu", before: Callable | None = None
) -> dict[str, np.ndarray]:
    """{name: wall seconds of one call of a way, one for each round}.

    Each round times every way once, in another order each time: what slows the machine down slows
    all of them, so that ratios can be trusted where seconds cannot. `before` is called before each
    timing (a barrier, on ranks). Each way runs twice beforehand, untimed.
    """
    check.integer("rounds", rounds)
    wait, repeats = _waiting(device), {}
    for name, way in ways.items():
        _timed(way, 1, wait, time.perf_counter, before)
        once_s = _timed(way, 1, wait, time.perf_counter, before)
        # on ranks all must call equally often, whatever each one's clock says
        repeats[name] = 1 if before else math.ceil(SHORTEST_S / max(once_s, 1e-9))
    seconds = {name: np.empty(rounds) for name in ways}
    order = np.random.default_rng(0)  # the same on every rank
    for i in range(rounds):
        for name in order.permutation(list(ways)):
            n = repeats[name]
            seconds[name][i] = _timed(ways[name], n, wait, time.perf_counter, before) / n
    return seconds


class Stopwatch:
    """Seconds of training: it stands still while the network is evaluated."""

    def __init__(self, device, seconds=0.0):
        self.device, self.seconds = device, seconds  # as they were at the last pause
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def paused(self):
        """A context in which the watch stands still, entered once the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.perf_counter() - self._since
        yield
        self._since = time.perf_counter()


def _timed(work, repeats, wait, clock, before=None):
    if before:
        before()
    begin = clock()
    for _ in range(repeats):
        work()
    wait()
    return clock() - begin


def _waiting(device):
    """What ends once all that was started has been done."""
    return torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
