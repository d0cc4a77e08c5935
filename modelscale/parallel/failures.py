"""How a run failed, in words: the error that `run` raises, and what its message says."""

import linecache
import os
import re
import signal
import sys
import traceback
from itertools import takewhile

from . import worker

_LOST = re.compile(r"Connection (closed|reset|refused)|Broken pipe|Socket closed", re.IGNORECASE)
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')  # as faulthandler writes it
_FILE = re.compile(r'File "([^"\n]+)"(?=, line \d)')


class RankError(RuntimeError):
    """A rank raised, died, or had not returned in time: the message says which, and where."""

    def _render_traceback_(self):
        """What a notebook shows: the rank's own story first, then the cell that called `run`."""
        inner = (os.path.dirname(__file__), os.path.dirname(sys.modules["IPython"].__file__))
        frames = traceback.extract_tb(self.__traceback__)
        where = [
            f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n    {frame.line}'
            for frame in frames
            if not frame.filename.startswith(inner)
        ]
        text = f"RankError: {self}\n\nThe call of parallel.run was here\n" + "\n".join(where)
        return in_cells(text).split("\n")


def in_cells(text: str) -> str:
    """`text`, in which the files that a notebook's cells lie in are called as in the notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return text

    def renamed(match):
        name = shell.compile.format_code_name(match[1])
        return " ".join(name) if name else match[0]

    return _FILE.sub(renamed, text)


def is_lost(rank) -> bool:
    """Whether a rank that failed only lost its connection to another one."""
    return bool(_LOST.search(rank.report[2]))


def blame(failed) -> str:
    """The story of the rank that failed first: the others only lost their connection to it."""
    first = min(failed, key=lambda rank: (is_lost(rank), rank.report[1]))
    return f"rank {first.number} failed first\n{first.report[2]}"


def death(exitcode: int) -> str:
    """How a rank ended that could not report."""
    if exitcode >= 0:
        return f"It exited with code {exitcode} before the function returned."
    hint = " (was memory short?)" if -exitcode == getattr(signal, "SIGKILL", None) else ""
    names = {s.value: s.name for s in signal.Signals}  # those for real-time use have none
    name = names.get(-exitcode, f"signal {-exitcode}")
    return f"It was ended by {name}{hint} before the function returned."


def not_started(started: int, ranks: int, cause: str) -> str:
    """Why there are fewer ranks than asked for."""
    cause = cause or "no process could be made"
    return (
        f"{started} of {ranks} ranks were started, then the system refused: {cause}. "
        "It may be short of memory, processes, open files or ports: end other programs, "
        "or ask for fewer ranks."
    )


def overdue(ranks, timeout_s: float | None) -> str:
    """Where each rank that has not returned waits, innermost call last."""
    if timeout_s is None:
        names = ", ".join(str(rank.number) for rank in ranks if not rank.ready)
        return f"never ready to call the function: rank {names}. The machine may be overloaded."
    stacks = [f"rank {rank.number}:\n{_whereabouts(rank)}" for rank in ranks]
    return f"not returned after {timeout_s:g} s, and where they wait:\n" + "\n".join(stacks)


def _whereabouts(rank):
    """The caller's part of a rank's stack, with its source lines."""
    if rank.report is not None:
        return "  (it has returned)"
    frames = [m.groups() for m in _FRAME.finditer(rank.stack.decode("utf-8", "replace"))]
    own = takewhile(lambda frame: frame[0] != worker.__file__, frames)
    text = [
        f'  File "{file}", line {line}, in {name}\n    {linecache.getline(file, int(line)).strip()}'
        for file, line, name in reversed(list(own))
    ]
    return "\n".join(text) or "  (it does not say)"
