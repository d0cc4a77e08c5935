"""Seconds and peak memory of each notebook in each size, over several runs.

    python benchmarks/notebooks.py [--runs 3] [--sizes quick default] [--only NAME ...]

Writes benchmarks/results/notebooks.json, and modelscale/runtimes.json, from which `start` says how
long a notebook takes on another machine.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from modelscale.dial import SIZES, describe_machine, probe_s, settle
from modelscale.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "notebooks.json"
RUNTIMES = ROOT / "modelscale" / "runtimes.json"
LINE = re.compile(r"([\d.]+) s, ([\d,.]+) MiB")


def main():
    """Run every notebook and write medians of seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", default=["quick", "default"], choices=SIZES)
    parser.add_argument("--only", nargs="*", default=[], help="all else keeps its results")
    args = parser.parse_args()
    probe = median(probe_s() for _ in range(9))
    before = json.loads(OUT.read_text())["notebooks"] if OUT.exists() else {}
    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "notebooks": before}
    recorded = json.loads(RUNTIMES.read_text())
    here = {"probe_s": round(probe, 4), "machine": describe_machine()}
    recorded["reference"] |= dict.fromkeys(args.sizes, here)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if args.only and path.stem not in args.only:
            continue
        for size in args.sizes:
            runs = [run_once(path.stem, size) for _ in range(args.runs)]
            seconds, memory = (sorted(values) for values in zip(*runs, strict=True))
            row = {"seconds": seconds, "peak_mib": max(memory)}
            result["notebooks"].setdefault(path.stem, {})[size] = row
            recorded.setdefault(path.stem, dict.fromkeys(SIZES))[size] = round(median(seconds))
            print(path.stem, size, row, flush=True)
    write_whole(OUT, json.dumps(result, indent=1) + "\n")
    write_whole(RUNTIMES, json.dumps(recorded, indent=1) + "\n")


def run_once(name, size) -> tuple:
    """(seconds, MiB at the peak) of one run in a fresh kernel that leaves the file as it is."""
    command = [sys.executable, ROOT / "scripts" / "notebooks.py", "--only", name, "--check"]
    done = subprocess.run([*command, "--size", size], check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if f"notebooks/{name}" in line)
    return tuple(float(x.replace(",", "")) for x in LINE.search(line).groups())


if __name__ == "__main__":
    settle()
    main()
