"""The stored sweep behind notebook 01: accuracy over kind, data, depth and width.

    python experiments/vertical_scaling.py [--out notebooks/results/vertical_scaling.json]

Every network is trained at four learning rates; the best one is chosen on validation samples, and
the accuracies are those on test samples that took no part in the choice.
"""

import argparse
import json
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

from modelscale import count, data, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, evaluate, fit_many

KINDS = ("plain", "residual")
SAMPLES = (500, 2000, 8000, 32000)
DEPTHS = (1, 2, 4, 8, 16)
WIDTHS = (8, 16, 32, 64, 128)
SEEDS = (0, 1, 2)
LRS = (3e-3, 1e-2, 3e-2, 0.1)
RECIPE = Recipe(steps=500, records=1)
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "vertical_scaling.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin = parser.parse_args().out, time.perf_counter()
    task = data.signals(max(SAMPLES), 2000, seed=0)
    test = data.signals(10, 4000, seed=1)
    cells = []
    for kind, n, depth, width in product(KINDS, SAMPLES, DEPTHS, WIDTHS):
        shape = count.MLP(depth, width, residual=kind == "residual")
        cells.append({"kind": kind, "n": n, "depth": depth, "width": width})
        cells[-1] |= best_of_rates(shape, task.subset(n), test)
        print(f"{len(cells)}: {cells[-1]}", flush=True)
    result = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - begin),
        "seeds": SEEDS,
        "lrs": LRS,
        "recipe": asdict(RECIPE),
        "cells": cells,
    }
    write_whole(out, json.dumps(result, indent=1) + "\n")


def best_of_rates(shape, task, test) -> dict:
    """The accuracies of each seed at the learning rate with the best mean on validation samples."""
    members = list(product(LRS, SEEDS))
    networks = [models.build(shape, seed) for _, seed in members]
    lrs, seeds = zip(*members, strict=True)
    histories = fit_many(networks, task, RECIPE, seeds, lrs)
    accuracy = [history.last["accuracy"] for history in histories]
    best = max(
        LRS, key=lambda lr: sum(a for a, (r, _) in zip(accuracy, members, strict=True) if r == lr)
    )
    chosen = [i for i, (lr, _) in enumerate(members) if lr == best]
    return {
        "lr": best,
        "test": [round(evaluate(networks[i], test.x_test, test.y_test)[1], 4) for i in chosen],
        "train": [round(histories[i].last["train_accuracy"], 4) for i in chosen],
    }


if __name__ == "__main__":
    settle()
    main()
