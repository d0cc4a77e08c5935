"""The stored sweep behind notebook 04: the loss of a small GPT over width and learning rate.

    python experiments/tuning_gpt.py [--out notebooks/results/tuning_gpt.json]

Every width is trained at every learning rate, in the standard parametrisation and in muP, on the
Python library of this machine: other bytes in each version of Python, so another machine gets
other losses in the third digit. At the base width the two parametrisations are one network, which
is trained once.
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
from modelscale.train import Recipe, fit

BASE = count.Transformer(
    n_layer=2, d_model=128, n_head=4, vocab_size=256, context=32, tied=False
)  # GPT-2's initial 0.02 is made for wide networks: relative to width 32 it would be too small
WIDTHS = (32, 64, 128)  # at 16 the loss has two valleys, and the seed decides between them
LRS = tuple(2.0**k for k in range(-12, -5))
SEEDS = (0, 1, 2)
RECIPE = Recipe(steps=200, batch_size=16, weight_decay=0.0, warmup=0.1, clip=math.inf, records=10)
TEXT_BYTES = 2_000_000
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "tuning_gpt.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    text, cells = data.text(TEXT_BYTES), []
    for width, kind in product(WIDTHS, ("standard", "mup")):
        if width == BASE.d_model and kind == "mup":
            cells += [{**cell, "kind": kind} for cell in cells if cell["width"] == width]
        else:
            cells += sweep(kind, width, text)
        store(out, text, cells)


def sweep(kind, width, text) -> list[dict]:
    """One cell for each learning rate: the losses of all seeds."""
    cells = []
    for lr in LRS:
        runs = [train(kind, width, lr, seed, text) for seed in SEEDS]
        losses = {name: [run[name] for run in runs] for name in ("loss", "test_loss")}
        cells.append({"kind": kind, "width": width, "lr": lr, **losses})
        print(cells[-1], flush=True)
    return cells


def store(out, text, cells):
    """Write what there is, after each width, so that a run cut short is not lost."""
    result = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.process_time()),  # of the processor: others may use it, too
        "seeds": SEEDS,
        "text": repr(text),
        "base": asdict(BASE),
        "recipe": asdict(RECIPE),
        "cells": cells,
    }
    write_whole(out, json.dumps(result, indent=1) + "\n")


def train(kind, width, lr, seed, text) -> dict:
    """Mean training loss of the last tenth of the steps, and validation loss, both in nats."""
    shape = replace(BASE, d_model=width)
    standard = kind == "standard"
    model = models.build(shape, seed) if standard else tuning.mup(shape, BASE, seed)
    factors = None if standard else tuning.lr_factors(shape, BASE, RECIPE.optimizer)
    last = fit(model, text, replace(RECIPE, lr=lr), seed, lr_factors=factors).last
    return {name: round(last[name], 4) for name in ("loss", "test_loss")}


if __name__ == "__main__":
    settle()
    main()
