"""Seconds to build and to simulate pipeline schedules of 64 stages and 512 micro-batches.

    python benchmarks/schedules.py [--rounds 5]

Processor seconds of this process, so that other programs do not count; the median of the rounds.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.parallel import schedule
from modelscale.parallel.simulate import Costs, simulate

OUT = Path(__file__).resolve().parent / "results" / "schedules.json"
STAGES, MICRO_BATCHES = 64, 512
COSTS = Costs(forward=1.0, input_grad=1.1, weight_grad=0.9, communication=0.05)


def main():
    """Build and simulate every schedule, and write the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    about = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d")}
    result = about | {"stages": STAGES, "micro_batches": MICRO_BATCHES, "schedules": {}}
    for name in schedule.NAMES:
        chunks = 4 if name == "interleaved" else 1
        build_s, simulate_s = zip(*(once(name, chunks) for _ in range(rounds)), strict=True)
        made = schedule.build(name, STAGES, MICRO_BATCHES, chunks)
        result["schedules"][name] = {
            "operations": sum(map(len, made.ranks)),
            "build_s": round(median(build_s), 3),
            "simulate_s": round(median(simulate_s), 3),
        }
        print(name, result["schedules"][name], flush=True)
    write_whole(OUT, json.dumps(result, indent=1) + "\n")


def once(name, chunks) -> tuple[float, float]:
    """Seconds of building a schedule, and of simulating it."""
    begin = time.process_time()
    made = schedule.build(name, STAGES, MICRO_BATCHES, chunks)
    middle = time.process_time()
    simulate(made, COSTS)
    return middle - begin, time.process_time() - middle


if __name__ == "__main__":
    settle()
    main()
