"""Executes the course's notebooks, each in a fresh kernel, and saves them clean.

    python scripts/notebooks.py [--only NAME ...] [--size quick|default|large] [--check]

One line a notebook: seconds, and the peak memory of its kernel and all processes below it. The
first error stops everything, names its cell and shows its traceback; that notebook stays as it was.
"""

import argparse
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError

from modelscale.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT_S = 600  # `large` on a slow machine; the tests allow 120 s
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}


def main(argv: list[str] | None = None) -> int:
    """0 if every notebook ran, else 1."""
    args = _arguments(argv)
    if args.size:
        os.environ["MODELSCALE_SIZE"] = args.size
    paths = find(ROOT / "notebooks", args.only)
    missing = [name for name in args.only or () if not find(ROOT / "notebooks", [name])]
    if missing or not paths:
        print(f"notebooks: none to run{' called ' + ' or '.join(missing) if missing else ''}")
        return 1 if missing else 0
    with tempfile.TemporaryDirectory() as own:  # not the user's start-up files and history
        os.environ["IPYTHONDIR"] = own
        os.environ["MODELSCALE_LEDGER"] = str(Path(own) / "guesses.json")  # an empty one
        return 0 if all(run(path, write=not args.check) for path in paths) else 1


def find(folder: Path, only: list[str] | None = None) -> list[Path]:
    """The notebooks in a folder and its `solutions`, in order; `only` keeps those named."""
    paths = sorted(folder.glob("*.ipynb")) + sorted((folder / "solutions").glob("*.ipynb"))
    return [path for path in paths if not only or path.stem in only or path.name in only]


def run(path: Path, write: bool = True) -> bool:
    """Whether a notebook ran; prints its line, and saves it clean if it is to be written."""
    notebook = nbformat.read(path, as_version=4)
    shown = f"{path.parent.name}/{path.name}"
    start = time.perf_counter()
    try:
        peak_bytes = execute(notebook, path.parent)
    except (CellControlSignal, RuntimeError) as error:  # a cell's error, its timeout, a dead kernel
        print(f"{shown}: FAILED in {_failing_cell(notebook)}\n{_plain(error)}")
        return False
    memory = f"{peak_bytes / 2**20:,.0f} MiB at its peak" if peak_bytes else "memory not readable"
    print(f"{shown}: {time.perf_counter() - start:.1f} s, {memory}", flush=True)
    if write:
        save(clean(notebook), path)
    return True


def execute(notebook, folder: Path) -> int:
    """The peak memory, in bytes, of running a notebook's cells in place; 0 where unreadable."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        coalesce_streams=True,  # a kernel may send one line in two pieces
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of loopback sockets
        resources={"metadata": {"path": str(folder)}},
    )
    client.reset_execution_trackers()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    with client.setup_kernel():
        memory = PeakMemory(client.km.provisioner.pid)
        try:
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
        finally:
            peak_bytes = memory.stop()
    return peak_bytes


class PeakMemory(threading.Thread):
    """The largest sum seen of the memory of a process and all below it, looked at 5 times a second.

    Pages that processes share are counted once where the system tells (Linux), else in each.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.process, self.peak_bytes, self.done = psutil.Process(pid), 0, threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.2):
            self.peak_bytes = max(self.peak_bytes, self._now_bytes())

    def stop(self) -> int:
        """The peak, in bytes."""
        self.done.set()
        self.join()
        return max(self.peak_bytes, self._now_bytes())

    def _now_bytes(self):
        try:
            family = [self.process, *self.process.children(recursive=True)]
        except psutil.Error:
            return 0
        return sum(map(_process_bytes, family))


def clean(notebook):
    """The notebook without what differs from run to run or from machine to machine.

    Outputs, execution counts and cell ids stay. Widget state and views (where a picture or a text
    stands beside them), timestamps and the kernel's versions go.
    """
    keep = {key: value for key, value in notebook.metadata.items() if key == "modelscale"}
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": LANGUAGE, **keep}
    )
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled", "trusted", "vscode"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            if {"image/png", "text/plain"} & set(output.get("data", {})):
                output.data.pop(WIDGET, None)  # its model is gone, and some pages show only that
    return notebook


def save(notebook, path: Path) -> None:
    """None; writes indented JSON with sorted keys and a newline at its end, whole or not at all."""
    nbformat.validate(notebook)
    write_whole(path, nbformat.writes(notebook, version=4).rstrip("\n") + "\n")


def _process_bytes(process):
    try:
        info = process.memory_full_info() if sys.platform == "linux" else process.memory_info()
    except psutil.Error:  # ended, or not ours to read
        return 0
    return getattr(info, "pss", 0) or info.rss


def _failing_cell(notebook):
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    run_ = [(i, cell) for i, cell in code if cell.execution_count or cell.outputs]
    index, cell = (run_ or code)[-1]
    return f"cell {index} (id {cell.get('id', '?')}):\n{cell.source}\n"


def _plain(error):
    text = error.traceback if isinstance(error, CellExecutionError) else str(error)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these notebooks, without folder")
    parser.add_argument("--size", choices=["quick", "default", "large"], help="MODELSCALE_SIZE")
    parser.add_argument("--check", action="store_true", help="run them and write nothing")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
