"""Speed-up of two ranks on two cores for three networks, by hand and by the library, in turn.

    python benchmarks/data_parallel.py [--rounds 9]

Settings of one network are timed in turn within each round: one process with the whole batch and
with half of it, half of it averaged with nobody, one process with two threads, two ranks with half
of the batch each (sending nothing; averaged by hand; by DistributedDataParallel), two ranks with
the whole batch each. Ratios are those of a round; the result holds every round. The prediction is
that of notebook 08, made of one process's times and of the ranks' messages alone.
Only an idle machine gives numbers worth keeping: `load` is the system's load average at the end,
about 2 where nothing else ran.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from modelscale import count, parallel
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.machine import interpolate
from modelscale.parallel import clock

OUT = Path(__file__).resolve().parent / "results" / "data_parallel.json"
NETWORKS = {  # shape, batch, steps a timing: those of notebook 08, and a larger batch for one
    "convolutions": (count.ConvNet(3, 48, n_stride=1), 2048, 4),
    "wide perceptron": (count.MLP(4, 1024), 512, 4),
    "wide perceptron, batch 2048": (count.MLP(4, 1024), 2048, 2),
    "small perceptron": (count.MLP(3, 128), 64, 40),
}
SIZES = [4**k for k in range(1, 13)]  # bytes, to 16.8 MB


def main():
    """Nothing: times the networks and writes seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    parallel.warm_up("modelscale.parallel.clock", "torch._dynamo", "torch.nn.parallel")
    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "networks": {}}
    steps_s = ring_steps_s()
    for name, network in NETWORKS.items():
        result["networks"][name] = compare(*network, rounds, steps_s)
        found = result["networks"][name]
        medians = {key: row[rounds // 2] for key, row in found["ratios"].items()}
        print(f"{name}: predicted {found['predicted']},", json.dumps(medians), flush=True)
    result["load"] = load()
    write_whole(OUT, json.dumps(result, indent=1) + "\n")


def ring_steps_s(launches: int = 3) -> list[tuple]:
    """(bytes, seconds) of one step of a ring between two ranks, by size."""
    ways = {"step": clock.ring_step}
    runs = [parallel.run(clock.message_s, ways, SIZES, 9)[0]["step"] for _ in range(launches)]
    return list(zip(SIZES, np.median(runs, 0), strict=True))


def compare(shape, batch: int, steps: int, rounds: int, steps_s: list[tuple]) -> dict:
    """Milliseconds a step of each setting, by round; ratios of the rounds, sorted; the prediction.

    Two ranks are predicted from one, and from the steps of a ring.
    """
    half = batch // 2
    settings = {  # samples a rank, steps, averaging, ranks, threads
        "one": (shape, batch, steps),
        "half": (shape, half, steps),
        "alone": (shape, half, steps, "by hand"),
        "threads": (shape, batch, steps, "none", 1, 2),
        "silent": (shape, half, steps, "none", 2),
        "by_hand": (shape, half, steps, "by hand", 2),
        "library": (shape, half, steps, "library", 2),
        "weak": (shape, batch, steps, "by hand", 2),
    }
    seconds = parallel.run(clock.in_turn, settings, rounds, timeout_s=1200)[0]
    times = {name: np.array(row) for name, row in seconds.items()}
    ratios = {
        name: times["one"] / times[name] for name in ("threads", "silent", "by_hand", "library")
    }
    ratios["by_hand_over_library"] = times["library"] / times["by_hand"]
    ratios["weak_efficiency"] = times["one"] / times["weak"]
    sending = 2 * interpolate(steps_s, 4 * shape.params / 2)
    return {
        "params": shape.params,
        "batch": batch,
        "predicted": round(float(np.median(times["one"] / (times["alone"] + sending))), 2),
        "ms": {name: [round(1e3 * s, 2) for s in row] for name, row in seconds.items()},
        "ratios": {name: sorted(round(float(r), 2) for r in row) for name, row in ratios.items()},
    }


def load() -> float | None:
    """The system's load average over a minute: 2 or so where this benchmark ran alone."""
    path = Path("/proc/loadavg")
    return float(path.read_text().split()[0]) if path.exists() else None


if __name__ == "__main__":
    settle()
    main()
