"""How often each claim of the notebooks holds: the whole course, run with ten base seeds.

    python benchmarks/claims.py [--seeds 10] [--only 01_vertical_scaling ...]

A notebook is run with MODELSCALE_SEED = 0, 1, ...; each claim, and each line of a cell that the
tests compare, is set beside the stored one, without its evidence. The result is written after each
run, and what has been run of the same code is not run again: hours of work may be cut off. A claim
that fails more than once in ten is to be reworded.
"""

import argparse
import hashlib
import json
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from modelscale.course.claims import FAILED, HELD, NOTED
from modelscale.dial import describe_machine
from modelscale.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "claims.json"


def main():
    """Run what has not been run, seed by seed, and write how often each claim held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    paths = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    results = {path.stem: results.get(path.stem, {}) for path in paths}
    for seed in range(args.seeds):
        for path in paths:
            if not args.only or path.stem in args.only:
                results[path.stem] = with_seed(path, seed, results[path.stem])
                write_whole(OUT, json.dumps(results, indent=1) + "\n")


def with_seed(path: Path, seed: int, known: dict) -> dict:
    """What is known of a notebook, with one more seed run, unless that is known already."""
    notebook = nbformat.read(path, as_version=4)
    stored, code = printed(notebook), digest(notebook)
    if known.get("code") != code:
        known = {"code": code, "runs": [], "held": dict.fromkeys(sorted(stored), 0)}
    if seed in [run["seed"] for run in known["runs"]]:
        return known
    begin = time.perf_counter()
    execute(notebook, path.parent, seed)
    seconds, found = round(time.perf_counter() - begin, 1), printed(notebook)
    missed = sorted((stored - found).keys())
    print(f"{path.stem}, seed {seed}: {seconds} s, not as stored: {missed}", flush=True)
    run = {"seed": seed, "seconds": seconds, "date": time.strftime("%Y-%m-%d")}
    held = {line: n + (line not in missed) for line, n in known["held"].items()}
    runs = [*known["runs"], run | {"machine": describe_machine()}]
    return known | {"runs": runs, "held": held}


def execute(notebook, folder: Path, seed: int) -> None:
    """Run all cells in place, in default size, with this base seed and no guesses."""
    with tempfile.TemporaryDirectory() as own:
        os.environ |= {
            "MODELSCALE_SIZE": "default",
            "MODELSCALE_SEED": str(seed),
            "MODELSCALE_LEDGER": str(Path(own) / "guesses.json"),
        }
        NotebookClient(
            notebook,
            timeout=600,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": folder}},
        ).execute()


def printed(notebook) -> Counter:
    """{claim, or line of a compared cell, without its evidence: how often it is printed}."""
    lines = Counter()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
            text = "\n".join(out.get("text", "") for out in cell.outputs)
            for line in filter(str.strip, text.splitlines()):
                if line.startswith((HELD, FAILED)) or not ignored:
                    marked = line.startswith((HELD, FAILED, NOTED))
                    lines[re.sub(r" \(.*\)$", "", line) if marked else line] += 1
    return lines


def digest(notebook) -> str:
    """A name for the code of a notebook and what it says it found."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    told = sorted(printed(notebook).items())
    return hashlib.sha256(json.dumps([code, told]).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
