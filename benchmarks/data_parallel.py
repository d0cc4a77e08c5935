"""Speed-up of two ranks on two cores for three networks, by hand and by the library, in turn.

    python benchmarks/data_parallel.py [--rounds 9]

Settings of one network are timed in turn within each round: one process with the whole batch and
with half of it, half of it averaged with nobody, one process with two threads, two ranks with half
of the batch each (sending nothing; averaged by hand; by DistributedDataParallel), two ranks with
the whole batch each. Ratios are those of a round; the result holds every round. The prediction is
that of notebook 10, made of one process's times and of the ranks' messages alone.
Only an idle machine gives numbers worth keeping: `load` is the system's load average at the end,
about 2 where nothing else ran.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from modelscale import count, models, parallel
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.parallel import ring
from modelscale.parallel.buckets import DataParallel
from modelscale.timing import in_turn_s

OUT = Path(__file__).resolve().parent / "results" / "data_parallel.json"
NETWORKS = {  # shape, batch, steps a timing: those of notebook 10, and a larger batch for one
    "convolutions": (count.ConvNet(3, 48, n_stride=1), 2048, 4),
    "wide perceptron": (count.MLP(4, 1024), 512, 4),
    "wide perceptron, batch 2048": (count.MLP(4, 1024), 2048, 2),
    "small perceptron": (count.MLP(3, 128), 64, 40),
}
SIZES = [4**k for k in range(1, 13)]  # bytes, to 16.8 MB


def main():
    """Time the networks; write seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    parallel.warm_up("modelscale.parallel.buckets", "torch._dynamo", "torch.nn.parallel")
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

    def on_a_rank():
        found = []
        for size in SIZES:
            sent, arriving = torch.zeros(2, size // 4)
            ways = {"step": lambda s=sent, a=arriving: ring.pass_on(s, a)}
            found.append(np.median(in_turn_s(ways, 9, before=dist.barrier)["step"]))
        return found

    runs = [parallel.run(on_a_rank)[0] for _ in range(launches)]
    return list(zip(SIZES, np.median(runs, 0), strict=True))


def compare(shape, batch: int, steps: int, rounds: int, steps_s: list[tuple]) -> dict:
    """Milliseconds a step of each setting, by round; ratios of the rounds, sorted; the prediction.

    Two ranks are predicted from one, and from the steps of a ring.
    """
    half = batch // 2
    settings = {  # samples a rank, averaging, ranks, threads
        "one": (batch, "none", 1, 1),
        "half": (half, "none", 1, 1),
        "alone": (half, "by hand", 1, 1),
        "threads": (batch, "none", 1, 2),
        "silent": (half, "none", 2, 1),
        "by_hand": (half, "by hand", 2, 1),
        "library": (half, "library", 2, 1),
        "weak": (batch, "by hand", 2, 1),
    }
    times = parallel.run(settings_s, shape, settings, steps, rounds, timeout_s=1200)[0]
    ratios = {
        name: times["one"] / times[name] for name in ("threads", "silent", "by_hand", "library")
    }
    ratios["by_hand_over_library"] = times["library"] / times["by_hand"]
    ratios["weak_efficiency"] = times["one"] / times["weak"]
    sizes, seconds = np.log(steps_s).T
    sending = 2 * np.exp(np.interp(math.log(2 * shape.params), sizes, seconds))
    return {
        "params": shape.params,
        "batch": batch,
        "predicted": round(float(np.median(times["one"] / (times["alone"] + sending))), 2),
        "ms": {name: [round(1e3 * s, 2) for s in row] for name, row in times.items()},
        "ratios": {name: sorted(round(float(r), 2) for r in row) for name, row in ratios.items()},
    }


def settings_s(shape, settings: dict, steps: int, rounds: int) -> dict:
    """{setting: seconds of a step by round}; a rank that a setting does not need waits."""
    groups = {ranks: dist.new_group(list(range(ranks))) for ranks in (1, 2)}
    ways = {}
    for name, (batch, averaging, ranks, threads) in settings.items():
        ways[name] = lambda: None
        if dist.get_rank() < ranks:
            ways[name] = steps_of(shape, batch, averaging, groups[ranks], threads, steps)
    return {
        name: seconds / steps
        for name, seconds in in_turn_s(ways, rounds, before=dist.barrier).items()
    }


def steps_of(shape, batch, averaging, group, threads, steps):
    """A function that takes so many steps of plain SGD on random data."""
    network = model = models.build(shape)
    if averaging == "library":
        network = DistributedDataParallel(model, process_group=group)
    elif averaging == "by hand":
        network = DataParallel(model, group=group)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, fused=True)
    x, y = torch.randn(batch, shape.n_in), torch.randint(shape.n_out, (batch,))

    def run():
        torch.set_num_threads(threads)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            if averaging == "by hand":
                network.finish()
            optimizer.step()

    return run


def load() -> float | None:
    """The system's load average over a minute: 2 or so where this benchmark ran alone."""
    path = Path("/proc/loadavg")
    return float(path.read_text().split()[0]) if path.exists() else None


if __name__ == "__main__":
    settle()
    main()
