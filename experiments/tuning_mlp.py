"""The stored sweep behind notebook 04: the loss of an MLP over width and learning rate.

    python experiments/tuning_mlp.py [--out notebooks/results/tuning_mlp.json]

Every width is trained at every learning rate with AdamW and with SGD, in the standard
parametrisation and in muP, all rates and seeds of a width as one batch of networks.
"""

import argparse
import json
import math
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from modelscale import count, data, models, tuning
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit_many

BASE = count.MLP(depth=3, width=32)
WIDTHS = (32, 64, 128, 256, 512)
LRS = tuple(2.0**k for k in range(-10, 0))
SEEDS = (0, 1, 2)
RECIPE = Recipe(steps=150, batch_size=32, weight_decay=0.0, clip=math.inf, records=10)
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "tuning_mlp.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    task, cells = data.signals(4000, 1000, seed=0), []
    for optimizer, width, kind in product(("adamw", "sgd"), WIDTHS, ("standard", "mup")):
        cells += sweep(optimizer, kind, width, task)
        print(f"{optimizer} {width} {kind}: {time.process_time():.0f} s", flush=True)
    result = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.process_time()),  # of the processor: others may use it, too
        "seeds": SEEDS,
        "base": asdict(BASE),
        "recipe": asdict(RECIPE),
        "cells": cells,
    }
    write_whole(out, json.dumps(result, indent=1) + "\n")


def sweep(optimizer, kind, width, task, lrs=LRS, seeds=SEEDS) -> list[dict]:
    """One cell for each learning rate: the losses of all seeds, in nats.

    "loss" is the mean training loss of the last tenth of the steps.
    """
    shape, recipe = replace(BASE, width=width), replace(RECIPE, optimizer=optimizer)
    rates, numbers = zip(*product(lrs, seeds), strict=True)
    if kind == "mup":
        networks = [tuning.mup(shape, BASE, seed) for seed in numbers]
        factors = tuning.lr_factors(shape, BASE, optimizer)
    else:
        networks, factors = [models.build(shape, seed) for seed in numbers], None
    last = [h.last for h in fit_many(networks, task, recipe, numbers, rates, lr_factors=factors)]
    cells = []
    for lr in lrs:
        runs = [run for run, rate in zip(last, rates, strict=True) if rate == lr]
        losses = {name: [rounded(run[name]) for run in runs] for name in ("loss", "test_loss")}
        cells.append({"optimizer": optimizer, "kind": kind, "width": width, "lr": lr, **losses})
    return cells


def rounded(loss):
    """`loss` with four digits; None, as JSON knows no infinity, where the run diverged."""
    return round(loss, 4) if math.isfinite(loss) else None


if __name__ == "__main__":
    settle()
    main()
