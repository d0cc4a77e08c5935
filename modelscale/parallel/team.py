"""The ranks of one run, as their caller sees them: started, listened to, ended, perhaps failed.

What a rank says comes by two connections: its reports, and all that it prints.
"""

import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback
import types
from itertools import takewhile
from multiprocessing.connection import wait

from . import worker

_GOODBYE_S = 0.5  # for ranks to exit by themselves
_STACKS_S = 0.3  # for the ranks to say where they wait
_READ_BYTES = 2**20  # at once, of what a rank prints: more than a pipe holds
_STARTING = threading.Lock()
_LOST = re.compile(r"Connection (closed|reset|refused)|Broken pipe|Socket closed", re.IGNORECASE)
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')  # as faulthandler writes it
_FILE = re.compile(r'File "([^"\n]+)"(?=, line \d)')


class RankError(RuntimeError):
    """A rank raised, died, or had not returned in time: the message says which, and where."""

    def _render_traceback_(self):
        """What a notebook shows: the rank's own story first, then the cell that called `run`."""
        ipython = sys.modules["IPython"]
        inner = (os.path.dirname(__file__), os.path.dirname(ipython.__file__))
        frames = traceback.extract_tb(self.__traceback__)
        outer = [frame for frame in frames if not frame.filename.startswith(inner)]
        where = "".join(traceback.format_list(outer)).rstrip()
        text = f"RankError: {self}\n\nThe call of parallel.run was here\n{where}"
        named = ipython.get_ipython().compile.format_code_name  # of a cell, as the notebook does
        return _FILE.sub(lambda m: " ".join(named(m[1]) or [m[0]]), text).split("\n")


class Team:
    """The ranks that have been started, and the store where they find each other."""

    def __init__(self):
        self.ranks = []
        self.store = None

    def add(self, context, job):
        """Start one rank more. Raises: OSError or EOFError where there can be none."""
        self.ranks.append(rank := _Rank(len(self.ranks), context, job))
        with rank.far_pipe, rank.far_output, _STARTING, _hidden_main(), _interrupts_held():
            rank.process.start()

    def waiting(self):
        """The ranks that have not said how they ended."""
        return [rank for rank in self.ranks if rank.report is None]

    def failed(self):
        """The ranks that said, or showed, that they have failed."""
        return [rank for rank in self.ranks if rank.report and rank.report[0]]

    def listen(self, screen, seconds, last=False):
        """Take in what the ranks say, once one says anything; `screen` shows what they print."""
        wait([s for rank in self.waiting() for s in (*rank.open, rank.process.sentinel)], seconds)
        for rank in self.ranks:
            screen.show(rank.number, rank.listen(), last)

    def blame(self):
        """The story of the rank that failed first: others only lost their connection to it."""
        first = min(self.failed(), key=lambda rank: (rank.lost(), rank.report[1]))
        return f"rank {first.number} failed first\n{first.report[2]}"

    def overdue(self, timeout_s):
        """Where each rank that has not returned waits, innermost call last."""
        if timeout_s is None:
            names = ", ".join(str(rank.number) for rank in self.ranks if not rank.ready)
            return f"never ready to call the function: rank {names}. The machine may be overloaded."
        waiting, end = self.waiting(), time.monotonic() + _STACKS_S
        for rank in waiting:
            rank.ask_for_stack()
        while (left := end - time.monotonic()) > 0:
            wait([rank.output for rank in waiting if rank.output in rank.open], left)
            for rank in waiting:
                rank.stack += rank.listen()
        stacks = [f"rank {rank.number}:\n{rank.whereabouts()}" for rank in self.ranks]
        return "\n".join([f"not returned after {timeout_s:g} s, and where they wait:", *stacks])

    def end(self):
        """Let the ranks exit by themselves, so that what they registered is cleaned up; then leave
        no process and no open connection.
        """
        try:
            end = time.monotonic() + _GOODBYE_S
            for rank in self.ranks:
                rank.send("you may go")
            for rank in self.ranks:
                rank.join(max(0, end - time.monotonic()))
        finally:  # after a second, impatient interrupt, too
            for rank in self.ranks:
                rank.kill()
            for rank in self.ranks:
                rank.close()
            self.store = None  # a traceback that is kept would keep it listening


class _Rank:
    """The caller's end of one rank."""

    def __init__(self, number, context, job):
        self.number, self.windows = number, job.windows
        self.pipe, self.far_pipe = context.Pipe()
        self.output, self.far_output = context.Pipe(duplex=False)
        args = number, job, self.far_pipe, self.far_output
        self.process = context.Process(target=worker.main, args=args)
        self.open = {self.pipe, self.output}  # what can still be read
        self.ready = False  # to call the function
        self.report = None  # (whether it failed, when, what the function returned or how it failed)
        self.stack = b""  # where it waited when its time was over

    def listen(self) -> bytes:
        """What the rank has printed; takes in what it has reported."""
        ended = self.process.exitcode is not None  # asked first: all it said can now be read
        printed = self._printed()
        try:
            while self.report is None and self.pipe in self.open and self.pipe.poll():
                self.ready, self.report = True, self.pipe.recv()
        except (EOFError, OSError):  # it died, perhaps in the middle of its report
            self.open.remove(self.pipe)
        if self.report is None and ended:
            self.report = True, time.monotonic(), _death(self.process.exitcode)
        return printed

    def _printed(self):
        """The bytes that are there, at most so many that another rank gets its turn."""
        data = b""
        try:
            while self.output in self.open and len(data) < _READ_BYTES and self.output.poll():
                if self.windows:  # where a connection is no file descriptor it carries messages
                    data += self.output.recv_bytes()
                elif new := os.read(self.output.fileno(), _READ_BYTES):
                    data += new
                else:
                    raise EOFError
        except (EOFError, OSError):
            self.open.remove(self.output)
        return data

    def lost(self):
        """Whether the rank, which has failed, only lost its connection to another one."""
        return bool(_LOST.search(self.report[2]))

    def send(self, words):
        """Say something to the rank, who may have died."""
        with contextlib.suppress(OSError):
            self.pipe.send(words)

    def ask_for_stack(self):
        """Make the rank print where its main thread is."""
        if self.windows:
            self.send("where are you?")
        else:
            with contextlib.suppress(ProcessLookupError):  # C code that never returns says it, too
                os.kill(self.process.pid, signal.SIGUSR1)

    def whereabouts(self):
        """The caller's part of the rank's stack, with its source lines."""
        if self.report is not None:
            return "  (it has returned)"
        found = _FRAME.finditer(self.stack.decode("utf-8", "replace"))
        frames = [(m[1], int(m[2]), m[3], None) for m in found]
        own = list(takewhile(lambda frame: frame[0] != worker.__file__, frames))
        return "".join(traceback.format_list(own[::-1])).rstrip() or "  (it does not say)"

    def join(self, seconds=None):
        """Wait for the end of the process; one whose start was interrupted goes by itself."""
        if self.process.pid is not None:
            self.process.join(seconds)

    def kill(self):
        """End the process, and those it started, if they have not ended by themselves."""
        if self.process.pid is not None:
            if not self.windows:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()

    def close(self):
        """Wait for the end of the process and close every connection to it."""
        self.join()
        self.process.close()
        for connection in (self.pipe, self.far_pipe, self.output, self.far_output):
            connection.close()


def _death(exitcode):
    """How a rank ended that could not report."""
    if exitcode >= 0:
        return f"It exited with code {exitcode} before the function returned."
    names = {s.value: s.name for s in signal.Signals}  # those for real-time use have none
    name = names.get(-exitcode, f"signal {-exitcode}")
    hint = " (was memory short?)" if name == "SIGKILL" else ""
    return f"It was ended by {name}{hint} before the function returned."


@contextlib.contextmanager
def _hidden_main():
    """A new process would run the caller's script once more: it is shown an empty one instead."""
    main = sys.modules["__main__"]
    try:
        sys.modules["__main__"] = types.ModuleType("__main__")
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_held():
    """A first interrupt waits, else it could leave a process of unknown number and open pipes."""
    if threading.current_thread() is not threading.main_thread():  # it gets no interrupts
        yield
        return
    came = []

    def hold(*_):
        came.append(True)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
