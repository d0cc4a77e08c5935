"""The ranks of one run, as their caller sees them: started, listened to, ended."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import types
from multiprocessing.connection import wait

import cloudpickle

from . import failures, worker
from .failures import RankError

_GOODBYE_S = 0.5  # for ranks to exit by themselves
_STARTING = threading.Lock()


class Team:
    """The ranks that have been started, and the store where they find each other."""

    def __init__(self):
        self.ranks, self.store = [], None

    def open_store(self):
        """The port of a new store. It is in this process: no race for a free port."""
        from torch.distributed import TCPStore

        # Left to itself the store listens on every interface of the machine.
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        ours = {"is_master": True, "wait_for_workers": False, "master_listen_fd": listener.detach()}
        self.store = TCPStore("127.0.0.1", port, **ours)
        return port

    def start_rank(self, context, job):
        """Nothing: one rank more. Raises: OSError or EOFError where there can be none."""
        self.ranks.append(Rank(len(self.ranks), context, job))
        try:
            self.ranks[-1].start()
        except (OSError, EOFError):
            self.ranks.pop().close()
            raise

    def waiting(self):
        """The ranks that have not said how they ended."""
        return [rank for rank in self.ranks if rank.report is None]

    def failed(self):
        """The ranks that said, or showed, that they have failed."""
        return [rank for rank in self.ranks if rank.report and rank.report[0] == "failure"]

    def sources(self):
        """What to wait for: anything that a rank may say, or its end."""
        return [s for rank in self.waiting() for s in (*rank.open, rank.process.sentinel)]

    def listen_for_stacks(self, seconds):
        """Nothing: keeps in `stack` what each rank that has not ended tells of where it waits."""
        waiting = self.waiting()
        for rank in waiting:
            rank.ask_for_stack()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            wait([rank.output for rank in waiting if rank.output in rank.open], left)
            for rank in waiting:
                rank.stack += rank.listen()

    def let_go(self):
        """Nothing: the ranks exit by themselves, and what they registered is cleaned up."""
        end = time.monotonic() + _GOODBYE_S
        for rank in self.ranks:
            rank.send("you may go")
        for rank in self.ranks:
            if rank.process.pid is not None:
                rank.process.join(max(0, end - time.monotonic()))

    def end(self):
        """Nothing: leaves no process and no open connection."""
        try:
            self.let_go()
        finally:  # after a second, impatient interrupt, too
            for rank in self.ranks:
                rank.end()
            for rank in self.ranks:
                rank.close()
            self.store = None  # a traceback that is kept would keep it listening


class Rank:
    """The caller's end of one rank."""

    def __init__(self, number, context, job):
        self.number, self.windows = number, job.windows
        self.pipe, self.far_pipe = context.Pipe()
        self.output, self.far_output = context.Pipe(duplex=False)
        self.process = context.Process(
            target=worker.main, args=(number, job, self.far_pipe, self.far_output)
        )
        self.open = {self.pipe, self.output}  # what can still be read
        self.ready = False  # to call the function
        self.report = None  # (kind, time, what the function returned or how it failed)
        self.stack = b""  # where it waited when its time was over

    def start(self):
        """Nothing: the process runs."""
        with self.far_pipe, self.far_output, _STARTING, _hidden_main(), _interrupts_held():
            self.process.start()

    def listen(self) -> bytes:
        """What the rank has printed; takes in what it has reported."""
        ended = self.process.exitcode is not None  # asked first: all it said can now be read
        printed = self._printed()
        while self.report is None and self.pipe in self.open:
            try:
                if not self.pipe.poll():
                    break
                message = self.pipe.recv()
            except (EOFError, OSError):  # it died, perhaps in the middle of its report
                self.open.remove(self.pipe)
            else:
                self.ready = True
                self.report = message if message[0] != "ready" else None
        if self.report is None and ended:
            self.report = ("failure", time.monotonic(), failures.death(self.process.exitcode))
        return printed

    def result(self):
        """What the function returned."""
        try:
            return cloudpickle.loads(self.report[2])
        except Exception as error:  # unpickling runs code of the result's own classes
            text = f"rank {self.number}'s result cannot be read here: {error!r}"
            raise RankError(text) from error

    def send(self, words):
        """Nothing: says something to the rank, who may have died."""
        with contextlib.suppress(OSError):
            self.pipe.send(words)

    def ask_for_stack(self):
        """Nothing: makes the rank print where its main thread is."""
        if self.windows:
            self.send("where are you?")
            return
        with contextlib.suppress(ProcessLookupError):  # C code that never returns says it, too
            os.kill(self.process.pid, signal.SIGUSR1)

    def end(self):
        """Nothing: ends the process, and those it started, if they have not ended by themselves."""
        if self.process.pid is None:  # its start was interrupted: it goes when it hears it may
            return
        if not self.windows:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def close(self):
        """Nothing: waits for the end of the process and closes every connection to it."""
        if self.process.pid is not None:
            self.process.join()
            self.process.close()
        for connection in (self.pipe, self.far_pipe, self.output, self.far_output):
            connection.close()

    def _printed(self):
        try:
            return _read(self.output, self.windows) if self.output in self.open else b""
        except (EOFError, OSError):
            self.open.remove(self.output)
            return b""


def _read(output, windows):
    """The bytes that are there. Raises: EOFError or OSError at their end."""
    if not output.poll():
        return b""
    if windows:  # where a connection is no file descriptor
        return _messages(output)
    data = os.read(output.fileno(), 1 << 20)  # more than a pipe holds
    if not data:
        raise EOFError
    return data


def _messages(output):
    """The bytes of all messages there are. Raises: EOFError or OSError where only an end is."""
    data = output.recv_bytes()
    while output.poll():
        try:
            data += output.recv_bytes()
        except (EOFError, OSError):  # said again at the next call
            break
    return data


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
