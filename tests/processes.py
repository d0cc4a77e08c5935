"""What the tests of real processes share: whether some still live, and scripts to start."""

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def gone(pids, within_s=10):
    """Whether all processes have ended within a time."""
    end = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def alive(pid):
    """Whether a process runs; one that waits to be reaped does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def surroundings(tmp_path, **more):
    """An environment whose temporary files go to an empty folder of their own."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    return dict(os.environ, PYTHONPATH=path, TMPDIR=str(tmp_path / "tmp")) | more


def script(tmp_path, text, **more):
    """A started script, whose temporary files go to a folder of their own."""
    (tmp_path / "script.py").write_text(textwrap.dedent(text))
    command, pipe = [sys.executable, "-W", "error", "script.py"], subprocess.PIPE
    env = surroundings(tmp_path, **more)
    return subprocess.Popen(command, cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True)


def left_behind(tmp_path):
    """The temporary files that such a script has not removed."""
    return sorted((tmp_path / "tmp").iterdir())
