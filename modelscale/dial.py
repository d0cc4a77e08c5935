"""The one dial of the course: size of the experiments, device, seed, and one thread a process.

Torch gets one intra-op thread: with two, on a busy two-core machine, small networks train many
times slower. Importing sets nothing: `start` does, `settle` for scripts, and each rank for itself.
"""

import ctypes
import importlib
import json
import os
import platform
import signal
import sys
import threading
import timeit
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from . import check

SIZES = ("quick", "default", "large")


@dataclass(frozen=True)
class Dial:
    """What every experiment of a notebook takes its sizes from; made by `start`."""

    notebook: str  # the name of its file, without the ending
    size: str  # "quick" (slow laptops, demos), "default" or "large" (a GPU)
    device: torch.device  # where the networks are
    seed: int  # base seed: every other seed is derived from it

    def __call__(self, *, quick, default, large):
        """The one of three values that belongs to this size."""
        return {"quick": quick, "default": default, "large": large}[self.size]

    def seeds(self, n: int) -> list[int]:
        """`n` different seeds, none shared with another base seed (up to 1,000 of them)."""
        return [1000 * self.seed + i for i in range(check.integer("n", n, high=1000))]


started: Dial | None = None  # the dial of this kernel, once `start` has made it


def start(notebook: str, size: str | None = None, seed: int | None = None) -> Dial:
    """The dial; prints the machine and how long `notebook` will take here.

    `size` defaults to the environment variable MODELSCALE_SIZE, else "default"; `seed` to
    MODELSCALE_SEED, else 0. The device is MODELSCALE_DEVICE, else a GPU for the size "large" where
    there is one, else the CPU.
    """
    global started
    size = size or os.environ.get("MODELSCALE_SIZE") or "default"
    check.one_of("size", size, SIZES, "set it in the call or in MODELSCALE_SIZE")
    if seed is None:
        text = os.environ.get("MODELSCALE_SEED", "0")
        if not text.isdecimal():
            check.refuse("MODELSCALE_SEED", text, "a whole number of at least 0")
        seed = int(text)
    started = dial = Dial(notebook, size, _device(size), check.integer("seed", seed, 0))
    settle()
    _use_style()
    _import_whole("torch._dynamo")  # which torch imports in making the first optimizer
    print(f"modelscale: size {size} of {', '.join(SIZES)}; seed {seed}; device {dial.device}")
    print(f"{describe_machine()}; {torch.get_num_threads()} thread")
    print(_expected_time(notebook, size, dial.device))
    return dial


def settle() -> None:
    """Set torch and BLAS to one thread, and let glibc keep freed blocks of up to 32 MB.

    Otherwise every page of each new large array is fetched anew, and on two busy cores the threads
    that OpenBLAS starts for a 5 x 5 matrix made a fit of SciPy's take thirty times as long.
    Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
    """
    torch.set_num_threads(1)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for a library that is yet to be loaded
    if "scipy" in sys.modules:
        threadpool_limits(1, user_api="blas")
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 * 2**20)
        mallopt(-1, 2**30)


def _import_whole(name: str) -> None:
    """Import the module `name` whole; an interrupt waits until that is done.

    A module interrupted half-way stays broken until the kernel is restarted, as sympy did when a
    learner stopped the first training of a notebook.
    """
    stopped = []
    if threading.current_thread() is not threading.main_thread():  # it gets no interrupts
        importlib.import_module(name)
        return
    before = signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    try:
        importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, before)
    if stopped:
        raise KeyboardInterrupt


def describe_machine() -> str:
    """One line: processor, cores, memory, operating system, torch and GPU, where there is one."""
    cores = f"{_processor()}, {os.cpu_count()} cores{_memory()}"
    versions = f"Python {platform.python_version()}", f"torch {torch.__version__}"
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return "; ".join([cores, platform.system(), *versions, *gpu])


def probe_s(rounds: int = 5) -> float:
    """Seconds that a fixed small piece of training takes here: the fastest of `rounds`.

    It is mostly the cost of starting operations, as in the notebooks themselves.
    """
    x, w = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    w.requires_grad_()

    def work():
        torch.autograd.grad((x @ w).relu_().square().mean(), w)

    return min(timeit.repeat(work, number=100, repeat=rounds))


def _runtimes():
    """The recorded seconds of each notebook in each size; of each size, where, and the probe's."""
    return json.loads(resources.files("modelscale").joinpath("runtimes.json").read_text())


def _expected_time(notebook, size, device):
    recorded = _runtimes()
    known = [name for name in recorded if name != "reference"]
    check.one_of("notebook", notebook, known, "give the name of the file without its ending")
    seconds = recorded[notebook][size]
    if size == "large" and device.type == "cpu":
        return "large is for a GPU: on this CPU some cells take many minutes. Try size='default'."
    if seconds is None:
        return f"{notebook} has not been timed in size {size}"
    slower = probe_s() / recorded["reference"][size]["probe_s"]
    here = f"{notebook}: about {_round(seconds * slower)} s here"
    return f"{here} ({_round(seconds)} s where it was recorded; this machine takes {slower:.1f}x)"


def _round(seconds):
    return f"{seconds:.0f}" if seconds < 30 else f"{5 * round(seconds / 5)}"


def _device(size):
    wanted = os.environ.get("MODELSCALE_DEVICE")
    gpu = torch.cuda.is_available()
    if wanted:
        check.one_of("MODELSCALE_DEVICE", wanted, ("cpu", "cuda") if gpu else ("cpu",))
    return torch.device(wanted or ("cuda" if gpu and size == "large" else "cpu"))


def _use_style():
    """Make the style of the course the style of every figure from here on."""
    import matplotlib.style
    from IPython import get_ipython

    from .plot import STYLE

    matplotlib.style.use(STYLE)
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        # Jupyter asks for "tight" whatever the style says: slower, and no two figures of one size
        shell.run_line_magic("config", "InlineBackend.print_figure_kwargs = {'bbox_inches': None}")


def _processor():
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory():
    if not hasattr(os, "sysconf"):  # on Windows
        return ""
    return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
