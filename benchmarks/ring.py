"""Seconds of the ring all-reduce by hand and of gloo's own, by message size, in turn.

    python benchmarks/ring.py [--ranks 2 4] [--launches 5]

Each launch starts fresh ranks and takes the median of 15 timings a size, all ways in random order;
the result holds all launches, and their medians' ratio. The ranks' steps predict the ring, as in
notebook 10. `load` is the system's load average at the end: only an idle machine tells the truth.
"""

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from modelscale import parallel
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.parallel import ring
from modelscale.timing import in_turn_s

OUT = Path(__file__).resolve().parent / "results" / "ring.json"
SIZES = [4**k for k in range(1, 13)]  # bytes, to 16.8 MB
WAYS = {
    "step": lambda x: ring.pass_on(x, torch.empty_like(x)),
    "by_hand": ring.all_reduce,
    "gloo": dist.all_reduce,
}


def main():
    """Time all sizes; write seconds, ratios and the predicted seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--launches", type=int, default=5)
    args = parser.parse_args()
    parallel.warm_up("modelscale.parallel.ring")
    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "ranks": {}}
    for ranks in args.ranks:
        result["ranks"][ranks] = compare(ranks, args.launches)
        print(ranks, json.dumps(result["ranks"][ranks]["ratio"]), flush=True)
    result["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    write_whole(OUT, json.dumps(result, indent=1) + "\n")


def message_s(ways: dict, sizes: list[int], timings: int) -> dict:
    """{way: median seconds by size}, on a rank."""
    found = {way: [] for way in ways}
    for size in sizes:
        calls = {way: partial(call, torch.zeros(size // 4)) for way, call in ways.items()}
        for way, seconds in in_turn_s(calls, timings, before=dist.barrier).items():
            found[way].append(float(np.median(seconds)))
    return found


def compare(ranks: int, launches: int) -> dict:
    """Seconds by size of each way, one row a launch; gloo's over ours; seconds predicted."""
    runs = [
        parallel.run(message_s, WAYS, SIZES, 15, ranks=ranks, timeout_s=300)[0]
        for _ in range(launches)
    ]
    seconds = {way: np.array([run[way] for run in runs]) for way in WAYS}
    step_s = np.median(seconds["step"], 0)
    s_per_byte, latency_s = np.polyfit(SIZES, step_s, 1, w=1 / step_s)  # in relative terms
    chunks = np.array(SIZES) / ranks
    steps_s = np.exp(np.interp(np.log(chunks), np.log(SIZES), np.log(step_s)))
    predicted = 2 * (ranks - 1) * steps_s
    ratio = np.median(seconds["gloo"] / seconds["by_hand"], 0)
    return {
        "bytes": SIZES,
        "seconds": {
            way: [[float(f"{s:.3g}") for s in row] for row in seconds[way]] for way in WAYS
        },
        "ratio": [round(float(r), 2) for r in ratio],
        "latency_s": float(f"{max(latency_s, 0):.3g}"),
        "bytes_per_s": float(f"{1 / s_per_byte:.3g}"),
        "predicted_s": [float(f"{s:.3g}") for s in predicted],
    }


if __name__ == "__main__":
    settle()
    main()
