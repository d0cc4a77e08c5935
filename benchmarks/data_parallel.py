"""Speed-up of two ranks on two cores for three networks, by hand and by the library, in turn.

    python benchmarks/data_parallel.py [--rounds 5]

Settings of one network are timed in turn within each round: one process, one process with two
threads, two ranks with half of the batch each (averaged by hand, and by DistributedDataParallel),
two ranks with the whole batch each. Ratios are those of a round; the result holds every round.
Only an idle machine gives numbers worth keeping: `load` is the system's load average at the end,
about 2 where nothing else ran.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from modelscale import count, parallel
from modelscale.dial import describe_machine
from modelscale.parallel import clock

OUT = Path(__file__).resolve().parent / "results" / "data_parallel.json"
NETWORKS = {  # shape, batch, steps a timing
    "convolutions": (count.ConvNet(3, 48, n_stride=1), 256, 6),
    "wide perceptron": (count.MLP(4, 1024), 2048, 2),
    "small perceptron": (count.MLP(3, 128), 256, 20),
}


def main():
    """Nothing: times the networks and writes seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    parallel.warm_up("modelscale.parallel.clock", "torch._dynamo", "torch.nn.parallel")
    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "networks": {}}
    for name, network in NETWORKS.items():
        result["networks"][name] = compare(*network, rounds)
        print(name, json.dumps(result["networks"][name]["ratios"]), flush=True)
    result["load"] = load()
    OUT.write_text(json.dumps(result, indent=1) + "\n")


def compare(shape, batch: int, steps: int, rounds: int) -> dict:
    """Milliseconds a step of each setting, by round, and the ratios of the rounds, sorted."""
    settings = {  # samples a rank, steps, ranks, threads, averaging
        "one": (shape, batch, steps),
        "threads": (shape, batch, steps, 1, 2),
        "by_hand": (shape, batch // 2, steps, 2),
        "library": (shape, batch // 2, steps, 2, 1, "library"),
        "weak": (shape, batch, steps, 2),
    }
    seconds = parallel.run(clock.in_turn, settings, rounds, timeout_s=1200)[0]
    times = {name: np.array(row) for name, row in seconds.items()}
    ratios = {
        "threads": times["one"] / times["threads"],
        "by_hand": times["one"] / times["by_hand"],
        "library": times["one"] / times["library"],
        "by_hand_over_library": times["library"] / times["by_hand"],
        "weak_efficiency": times["one"] / times["weak"],
    }
    return {
        "params": shape.params,
        "batch": batch,
        "ms": {name: [round(1e3 * s, 2) for s in row] for name, row in seconds.items()},
        "ratios": {name: sorted(round(float(r), 2) for r in row) for name, row in ratios.items()},
    }


def load() -> float | None:
    """The system's load average over a minute: 2 or so where this benchmark ran alone."""
    path = Path("/proc/loadavg")
    return float(path.read_text().split()[0]) if path.exists() else None


if __name__ == "__main__":
    main()
