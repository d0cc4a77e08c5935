"""How often each claim of the notebooks holds, over ten base seeds.

    python benchmarks/claims.py [--seeds 10] [--only 01_vertical_scaling]

A notebook is run with MODELSCALE_SEED = 0, 1, ...; each claim, and each line of a cell that the
tests compare, is set beside the stored one, without its evidence. A claim that fails more than once
in ten is to be reworded.
"""

import argparse
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
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole

MARKS = HELD + FAILED + NOTED
ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "claims.json"


def main():
    """Run the notebooks and write how often each claim came out as stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if not args.only or path.stem in args.only:
            about = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d")}
            held = {"seeds": args.seeds, "held": count_held(path, args.seeds)}
            result = json.loads(OUT.read_text()) if OUT.exists() else {}
            result[path.stem] = about | held
            print(path.stem, json.dumps(held, indent=1), flush=True)
            write_whole(OUT, json.dumps(result, indent=1) + "\n")


def count_held(path, seeds) -> dict:
    """{line of a compared output: runs in which it was printed}, over `seeds` base seeds."""
    stored = printed_lines(nbformat.read(path, as_version=4))
    held = dict.fromkeys(sorted(stored), 0)
    os.environ["MODELSCALE_SIZE"] = "default"
    own = tempfile.mkdtemp()
    os.environ["MODELSCALE_LEDGER"] = str(Path(own) / "guesses.json")  # an empty one
    for seed in range(seeds):
        os.environ["MODELSCALE_SEED"] = str(seed)
        notebook, begin = nbformat.read(path, as_version=4), time.perf_counter()
        client = NotebookClient(
            notebook,
            timeout=600,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": path.parent}},
        )
        client.execute()
        found = printed_lines(notebook)
        for line, times in stored.items():
            held[line] += found[line] >= times
        seconds = time.perf_counter() - begin
        missed = sorted(stored - found)
        print(f"{path.stem}, seed {seed}: {seconds:.0f} s, not as stored:", missed, flush=True)
    return held


def printed_lines(notebook) -> Counter:
    """{claim, or line of a compared cell, without evidence: how often it is printed}."""
    lines = Counter()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
            texts = [out.get("text", "") for out in cell.outputs]
            for line in filter(str.strip, "\n".join(texts).splitlines()):
                if line.startswith((HELD, FAILED)) or not ignored:
                    lines[re.sub(r" \(.*\)$", "", line) if line[0] in MARKS else line] += 1
    return lines


if __name__ == "__main__":
    settle()
    main()
