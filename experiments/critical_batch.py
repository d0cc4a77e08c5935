"""The stored sweep behind notebook 12: steps to one loss, by batch size and learning rate.

    python experiments/critical_batch.py [--out notebooks/results/critical_batch.json]

Every batch size is trained at every learning rate, all rates and seeds of a batch size as one batch
of networks. The learning rate stays what it is: no warm-up, no decay, no clipping.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np

from modelscale import count, data, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit_many

SHAPE = count.MLP(depth=2, width=64)
STEPS = {8: 2000, 16: 1500, 32: 1000, 64: 700, 128: 500, 256: 350, 512: 250, 1024: 200}
LRS = {
    "sgd": tuple(2.0**k for k in range(-9, 1)),
    "adamw": tuple(2.0**k for k in range(-11, -1)),
}
TARGET = 1.4  # nats of test loss; guessing costs ln 10 = 2.30
SEEDS = (0, 1, 2)
EVERY = 10  # steps between two looks at the test loss, at the most
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "critical_batch.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    cells = []
    for optimizer, batch in product(LRS, STEPS):
        cells += sweep(optimizer, batch)
        print(f"{optimizer} {batch}: {time.process_time():.0f} s", flush=True)
    result = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.process_time()),  # of the processor: others may use it, too
        "seeds": SEEDS,
        "target": TARGET,
        "shape": asdict(SHAPE),
        "recipe": asdict(recipe("sgd", 8)),
        "cells": cells,
    }
    write_whole(out, json.dumps(result, indent=1) + "\n")


def task():
    """The signals of notebook 01, so many that few are seen twice."""
    return data.signals(32_000, 1000, seed=0)


def recipe(optimizer: str, batch: int) -> Recipe:
    """How every network of one batch size is trained."""
    steps = STEPS[batch]
    return Recipe(
        steps=steps,
        batch_size=batch,
        optimizer=optimizer,
        weight_decay=0.0,
        warmup=0.0,
        lr_schedule="none",
        clip=math.inf,
        records=steps // min(EVERY, max(1, steps // 100)),
    )


def sweep(optimizer: str, batch: int, lrs=None, seeds=SEEDS) -> list[dict]:
    """One cell for each learning rate: the steps of every seed to the target, None if never."""
    rates, numbers = zip(*product(lrs or LRS[optimizer], seeds), strict=True)
    networks = [models.build(SHAPE, seed) for seed in numbers]
    runs = fit_many(networks, task(), recipe(optimizer, batch), numbers, rates)
    found = [steps_to(run, TARGET) for run in runs]
    rows = {lr: [s for s, rate in zip(found, rates, strict=True) if rate == lr] for lr in rates}
    return [
        {"optimizer": optimizer, "batch": batch, "lr": lr, "steps": row} for lr, row in rows.items()
    ]


def steps_to(history, target: float) -> float | None:
    """Steps until the test loss is at the target, between two records on a straight line."""
    losses, steps = np.array(history.test_loss), np.array(history.step)
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return None
    i = reached[0]
    if i == 0:
        return float(steps[0])
    share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    if not math.isfinite(share):  # from a loss that was no number
        return float(steps[i])
    return round(float(steps[i - 1] + share * (steps[i] - steps[i - 1])), 1)


if __name__ == "__main__":
    settle()
    main()
