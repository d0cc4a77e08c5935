"""Seconds to start ranks, sum over them and end: from a notebook, by torchrun, by accelerate.

    python benchmarks/launch.py [--rounds 5]

Every round has a fresh kernel with torch imported, in which `parallel.run` is called for the first
time and then ten times more (their median is the round's), a `torchrun --standalone` of a file that
does the same, and a kernel in which accelerate.notebook_launcher does it twice (it comes with peft,
which the tests need). On a busy Linux machine `chrt --rr 1` before it, as root, keeps others out of
the figures. The goals: first 2.5 s; second 0.15 s for two ranks and 0.3 s for four.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import nbclient
import nbformat

from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole

RESULT = Path(__file__).resolve().parent / "results" / "launch.json"
RANKS = (2, 4)
FUNCTION = """
import os, time, torch, torch.distributed as dist
def total():
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    x = torch.tensor(dist.get_rank())
    dist.all_reduce(x)
    assert x == dist.get_world_size() * (dist.get_world_size() - 1) // 2
"""
TIMED = """
def seconds(launch):
    begin = time.perf_counter()
    launch()
    return time.perf_counter() - begin
print([seconds(lambda: {call}) for _ in range({times})])
"""
OURS = ("from modelscale import parallel", "parallel.run(total, ranks={ranks})", 11)
THEIRS = (
    "from accelerate import notebook_launcher",
    "notebook_launcher(total, num_processes={ranks})",
    2,
)


def main():
    """Measure all launchers in turn and write what each took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    result = {"machine": describe_machine(), "date": str(datetime.date.today())}
    result |= {"rounds": args.rounds, "accelerate": importlib.metadata.version("accelerate")}
    result["scheduling"] = scheduling()
    for ranks in RANKS:
        rounds = [measured(ranks) for _ in range(args.rounds)]
        result[f"{ranks} ranks"] = {name: spread([r[name] for r in rounds]) for name in rounds[0]}
        print(ranks, json.dumps(result[f"{ranks} ranks"]), flush=True)
    write_whole(RESULT, json.dumps(result, indent=1) + "\n")


def measured(ranks) -> dict:
    """The seconds of one launch by each launcher."""
    first, *later = in_a_kernel(*OURS, ranks)
    theirs = in_a_kernel(*THEIRS, ranks)
    return {
        "run_first_s": first,
        "run_second_s": median(later),
        "torchrun_s": by_torchrun(ranks),
        "accelerate_first_s": theirs[0],
        "accelerate_second_s": theirs[1],
    }


def in_a_kernel(imported, call, times, ranks) -> list[float]:
    """Seconds of each of several launches in a fresh kernel."""
    cells = [FUNCTION, imported, TIMED.format(call=call.format(ranks=ranks), times=times)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300).execute()
    printed = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    return json.loads(printed[printed.rindex("[") :])


def by_torchrun(ranks) -> float:
    """Seconds from the command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "total.py"
        file.write_text(FUNCTION + "total()\ndist.destroy_process_group()\n")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        begin = time.perf_counter()
        subprocess.run(
            [*command, f"--nproc-per-node={ranks}", file], check=True, capture_output=True
        )
        return time.perf_counter() - begin


def scheduling() -> str:
    """Whether other programs of the machine could take this one's time."""
    if hasattr(os, "SCHED_RR") and os.sched_getscheduler(0) == os.SCHED_RR:
        return "real-time priority: other programs do not count"
    return "ordinary"


def spread(seconds) -> dict:
    """Median, smallest and largest."""
    return {
        "median": round(median(seconds), 3),
        "min": round(min(seconds), 3),
        "max": round(max(seconds), 3),
    }


if __name__ == "__main__":
    settle()
    main()
