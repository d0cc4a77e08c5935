"""What a rank runs: torchrun's surroundings, the caller's function, and the report of its end.

The server that ranks are forked from imports this module first, and is prepared by it. The module
loads no torch by itself, because the caller imports it too.
"""

import atexit
import contextlib
import faulthandler
import io
import linecache
import os
import reprlib
import shutil
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import current_process, util

import cloudpickle

from . import entry

_DEATH_S = 1.0  # from when a dying caller's files are closed to its end
# how long a rank that nobody ended may outlive its time: longer than others may take to start
_OVERTIME_S = 150


@dataclass(frozen=True)
class Job:
    """What every rank of a run is told."""

    payload: bytes  # the function and its arguments, pickled by value
    env: dict  # the caller's environment and torchrun's variables, without those of one rank
    sources: dict  # linecache's entries of code that lies in no file, such as cells
    timeout_s: float  # how long the run may take
    windows: bool  # whether signals, process groups and inherited descriptors are missing


def main(rank, job, pipe, output):
    """Call the function, report through `pipe`, wait to be let go, and exit."""
    watcher = threading.Thread(target=_watch, args=(pipe, job.windows), daemon=True)
    _settle(rank, job, output)
    watcher.start()
    try:
        import torch.distributed  # noqa: F401  a new interpreter takes its time for this

        pipe.send(None)  # ready
        # C code that never lets another thread run would keep the watcher from noticing anything.
        faulthandler.dump_traceback_later(job.timeout_s + _OVERTIME_S, exit=True, file=2)
        entry.join_group(job.timeout_s + _OVERTIME_S)  # the caller, who shows the stacks, is first
        fn, args = cloudpickle.loads(job.payload)
        report = False, time.monotonic(), _packed(fn(*args))
    except BaseException as error:  # SystemExit too: whatever ends the function is reported
        report = True, time.monotonic(), _story(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the function may have closed or replaced it
            stream.flush()
    pipe.send(report)
    # A rank that left now would cut the connections of those still at work. The watcher ends it.
    watcher.join()


def _settle(rank, job, output):
    """Give the process the caller's environment, streams and sources."""
    current_process()._config.pop("tempdir", None)  # the caller's, which is not ours to remove
    os.environ.clear()
    os.environ.update(job.env, RANK=str(rank), LOCAL_RANK=str(rank))
    linecache.cache.update(job.sources)
    if job.windows:  # where a connection is no file descriptor
        sys.stdout = sys.stderr = _Sender(output)
    else:
        os.setsid()  # Ctrl-C reaches the caller only, who ends this whole process group
        sys.stdout, sys.stderr = _redirected(output, 1), _redirected(output, 2)
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=False)
    faulthandler.enable(file=2)


def _redirected(output, fd):
    """A text stream to the caller; what C code and children write to `fd` goes there as well."""
    os.dup2(output.fileno(), fd)
    return open(fd, "w", 1, "utf-8", "backslashreplace", closefd=False)


class _Sender(io.TextIOBase):
    """A text stream that sends what is written to it at once."""

    def __init__(self, output):
        self.output = output

    def write(self, text):
        self.output.send_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)


def _watch(pipe, windows):
    """End the process, without the group's teardown: that can abort after a correct result."""
    try:
        while pipe.recv() != "you may go":
            # where the main thread is, as faulthandler says it where there are signals
            stack = sys._current_frames()[threading.main_thread().ident]
            for frame, line in traceback.walk_stack(stack):
                code = frame.f_code
                print(f'  File "{code.co_filename}", line {line} in {code.co_name}')
        util._run_finalizers()  # else named locks, such as tqdm's and data loaders', stay behind
    except (EOFError, OSError):  # the caller was killed: its ranks end with all they started
        if not windows:
            os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _packed(result):
    try:
        return cloudpickle.dumps(result)
    except Exception as error:  # pickling runs code of the result's own classes
        raise TypeError(
            f"the function returned {reprlib.repr(result)}, which cannot be sent back: {error}. "
            "Return numbers, tensors, or lists and dictionaries of them."
        ) from None


def _story(error):
    """The traceback of `error`, from the caller's own function on."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _tidy(caller):
    """Remove the folder of the server's socket, where a caller that was killed has left it."""
    from multiprocessing import forkserver  # which Windows has not

    end = time.monotonic() + _DEATH_S
    while os.getppid() == caller and time.monotonic() < end:
        time.sleep(0.01)
    if os.getppid() != caller:  # else it lives, and the next server needs the folder
        folder = os.path.dirname(forkserver._forkserver._forkserver_address)
        shutil.rmtree(folder, ignore_errors=True)


if current_process().name == "MainProcess" and any(
    "multiprocessing.forkserver import main" in word for word in sys.orig_argv
):  # this is the fork server itself: neither a caller nor a rank
    os.setsid()  # Jupyter interrupts and kills the caller's whole session, this process excepted
    atexit.register(_tidy, os.getppid())
