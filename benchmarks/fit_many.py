"""Seconds of `fit_many` against a plain PyTorch loop over the same networks, in turn.

    python benchmarks/fit_many.py [--rounds 3]

16 perceptrons of two hidden layers, 1,000 steps of batch 64, AdamW, one core. The plain loop
trains one network after the other as a first script would. `two_cores` runs two processes with
eight networks each, started beforehand.
"""

import argparse
import json
import multiprocessing as mp
import time
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

from modelscale import count, data, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit_many

OUT = Path(__file__).resolve().parent / "results" / "fit_many.json"
WIDTHS, NETWORKS, STEPS, BATCH = (16, 64, 256), 16, 1000, 64


def main():
    """Run all three in turn and write seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "widths": {}}
    with mp.get_context("spawn").Pool(2) as pool:
        pool.map(batched, [(8, 0, 50)] * 4, chunksize=1)  # imports, first calls
        for width in WIDTHS:
            runs = [in_turn(width, pool) for _ in range(rounds)]
            plain, one, two = (sorted(times) for times in zip(*runs, strict=True))
            result["widths"][width] = {
                "plain_s": round(median(plain), 2),
                "fit_many_s": round(median(one), 2),
                "two_cores_s": round(median(two), 2),
                "ratio": round(median(a / b for a, b, _ in runs), 1),
                "ratio_two_cores": round(median(a / c for a, _, c in runs), 1),
            }
            print(width, result["widths"][width], flush=True)
    write_whole(OUT, json.dumps(result, indent=1) + "\n")


def in_turn(width, pool) -> tuple:
    """Seconds of the plain loop, of `fit_many`, and of two processes with half of the networks.

    The plain loop runs for a tenth of the steps; its time is multiplied by ten.
    """
    plain = 10 * sum(plain_loop(width, STEPS // 10) for _ in range(NETWORKS))
    one = batched((width, NETWORKS, STEPS))
    begin = time.perf_counter()
    pool.map(batched, [(width, NETWORKS // 2, STEPS)] * 2, chunksize=1)
    return plain, one, time.perf_counter() - begin


def batched(job) -> float:
    """Seconds of `fit_many` for (width, networks, steps)."""
    width, networks, steps = job
    shape, task = count.MLP(2, width), data.signals(4000, 500)
    members = [models.build(shape, seed) for seed in range(max(networks, 1))]
    begin = time.perf_counter()
    fit_many(members, task, Recipe(steps=steps, batch_size=BATCH, records=1))
    return time.perf_counter() - begin


def plain_loop(width, steps) -> float:
    """Seconds of one network in the loop one would write at first."""
    task = data.signals(4000, 500)
    layers = [nn.Linear(40, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    begin = time.perf_counter()
    for _ in range(steps):
        rows = torch.randint(4000, (BATCH,))
        loss = F.cross_entropy(model(task.x_train[rows]), task.y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - begin


if __name__ == "__main__":
    settle()
    main()
