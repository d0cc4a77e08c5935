"""The stored sweep behind notebook 05: test error of trained networks across interpolation.

    python experiments/double_descent.py [--out notebooks/results/double_descent.json]

Networks of two hidden layers, narrow to wide, each trained for 500 epochs at a constant learning
rate without weight decay, on signals of which a share wears a wrong label. The test labels are
clean. The setting of Greydanus and Kobak (2024), but for the optimizer and the share of wrong
labels (theirs: 13.5 %), with data of our own and three sizes of it.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

from modelscale import count, data, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit_many

TASKS = ((500, 0.15), (2000, 0.15), (4000, 0.15), (4000, 0.0))  # samples, share of wrong labels
WIDTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
SEEDS = (0, 1, 2)
EPOCHS, BATCH_SIZE = 500, 100
RECORDS = 10
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "double_descent.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin, cells = parser.parse_args().out, time.perf_counter(), []
    for (n, noise), width in product(TASKS, WIDTHS):
        cells.append(cell(n, noise, width))
        print(f"{len(cells)}: {cells[-1]}", flush=True)
    about = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - begin),
        "seeds": SEEDS,
        "recipes": {n: asdict(recipe(n)) for n, _ in TASKS},
    }
    rows = ",\n".join(json.dumps(row) for row in cells)  # a line a cell: it is read by people too
    write_whole(out, json.dumps(about, indent=1)[:-2] + f',\n "cells": [\n{rows}\n]}}\n')


def cell(n: int, noise: float, width: int) -> dict:
    """Test error, training error and test loss of one width: a list a seed, a number a record."""
    shape = count.MLP(depth=2, width=width)
    networks = [models.build(shape, seed) for seed in SEEDS]
    histories = fit_many(networks, task(n, noise), recipe(n), SEEDS)
    return {
        "n": n,
        "noise": noise,
        "width": width,
        "params": shape.params,
        "step": histories[0].step,
        "test_error": [[round(1 - a, 4) for a in h.accuracy] for h in histories],
        "train_error": [[round(1 - a, 4) for a in h.train_accuracy] for h in histories],
        "test_loss": [[round(loss, 3) for loss in h.test_loss] for h in histories],
    }


def task(n: int, noise: float) -> data.Dataset:
    """The `n` training signals, a share `noise` of them with a wrong label, and 4,000 to test."""
    return data.signals(n, n_test=4000, seed=0, label_noise=noise)


def recipe(n: int) -> Recipe:
    """500 epochs at a constant rate, nothing that regularises."""
    steps = math.ceil(EPOCHS * n / BATCH_SIZE)
    return Recipe(
        steps=steps,
        batch_size=BATCH_SIZE,
        lr=5e-3,
        weight_decay=0.0,
        warmup=0.0,
        lr_schedule="none",
        records=RECORDS,
    )


if __name__ == "__main__":
    settle()
    main()
