"""The stored ladder behind notebook 06: accuracy over method, target and labels a class.

    python experiments/transfer_ladder.py [--out notebooks/results/transfer_ladder.json]

Two kinds of source, letters and the signals of 40 random templates, and three targets: handwritten
digits, the same digits put anywhere on the page, and the signals of the course. The learning rate
of every method at every size is chosen on draws of the target that are not evaluated, judged by
samples of the pool that were not drawn. A seed stands for a pretraining, a draw of the target's
labels and the weights of the head.
"""

import argparse
import functools
import json
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch

from modelscale import count, data, models, transfer
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit

LABELS = (1, 2, 5, 10, 20, 50, 100)  # a class
SEEDS = (0, 1, 2, 3, 4)  # evaluated on the test set
TUNING_SEEDS = (100, 101)  # choose the learning rates, evaluated nowhere else
LRS = (1e-3, 3e-3, 1e-2, 3e-2)
RECIPE = Recipe(steps=200, batch_size=32, records=1)
LONGER = 4  # times as many steps, for the control that trains from scratch for longer
RANK = 4
SETTINGS = {
    "seeds": SEEDS,
    "tuning_seeds": TUNING_SEEDS,
    "lrs": LRS,
    "recipe": asdict(RECIPE),
}
METHODS = (
    "scratch",
    "random features",
    "freeze 3",  # the linear probe: all but the head
    "freeze 2",
    "freeze 1",
    "fine-tune",
    "probe, then fine-tune",
    "LoRA",
)
FEWER = ("scratch", "random features", "freeze 3", "fine-tune", "probe, then fine-tune")
RUNS = (  # target, width, methods, labels a class
    ("moved digits", 8, METHODS, LABELS),
    ("signals", 24, METHODS, LABELS),
    ("digits", 8, FEWER, (1, 5, 20, 100)),
    ("moved digits", 4, ("scratch", "fine-tune"), LABELS),
    ("moved digits", 2, ("scratch", "fine-tune"), LABELS),
    ("moved digits", 8, ("scratch, longer",), (5, 50)),
    ("signals", 24, ("scratch, longer",), (5, 50)),
)
KEYS = ("target", "width", "labels", "method")  # what a cell is found by
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "transfer_ladder.json"


def main():
    """Run the ladder and write its result after each cell; a run that was cut off goes on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    known, seconds, machine = finished(out)
    begin = time.process_time() - seconds
    for key in (keys := wanted()):
        if key in known:
            continue
        probe = known.get((*key[:3], "freeze 3"), {})
        known[key] = dict(zip(KEYS, key, strict=True)) | best_of_rates(*key, probe.get("lr"))
        print(f"{len(known)} of {len(keys)}: {known[key]}", flush=True)
        cells = [known[k] for k in keys if k in known]
        result = described(cells, time.process_time() - begin, machine)
        write_whole(out, json.dumps(result, indent=1) + "\n")


def wanted() -> list[tuple]:
    """(target, width, labels, method) of each cell; a probe before what starts from it."""
    return [
        (target, width, labels, method)
        for target, width, methods, sizes in RUNS
        for labels, method in product(sizes, methods)
    ]


def finished(out) -> tuple[dict, float, str]:
    """(cells of an earlier run with the same settings by what they measure, its seconds, where)."""
    stored = json.loads(out.read_text()) if out.exists() else {}
    if {key: stored.get(key) for key in SETTINGS} != json.loads(json.dumps(SETTINGS)):
        return {}, 0.0, ""
    cells = {tuple(c[k] for k in KEYS): c for c in stored["cells"]}
    return cells, stored["seconds"], stored["machine"]


def described(cells, seconds, machine="") -> dict:
    """The result with all that one needs to make it again; `machine` is where a run began."""
    here = describe_machine()
    before = machine.removesuffix(here).removesuffix("; then ")
    return {
        "machine": f"{before}; then {here}" if before else here,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds),  # of one core
        **SETTINGS,
        "cells": cells,
    }


def best_of_rates(target, width, labels, method, probe_lr=None) -> dict:
    """The test accuracy of each seed, at the rate that is best on the tuning draws."""
    run = functools.partial(accuracy, target, width, labels, method, probe_lr=probe_lr)
    tried = [sum(run(lr, s)[0] for s in TUNING_SEEDS) / len(TUNING_SEEDS) for lr in LRS]
    lr, begin = LRS[tried.index(max(tried))], time.process_time()
    found = [run(lr, seed) for seed in SEEDS]
    return {
        "lr": lr,
        "validation": [round(a, 4) for a in tried],
        "test": [round(a, 4) for a, _ in found],
        "flops": found[0][1],
        "seconds": round((time.process_time() - begin) / len(SEEDS), 3),
    }


def accuracy(target, width, labels, method, lr, seed, probe_lr=None) -> tuple[float, int]:
    """(accuracy, FLOPs) of one run: on the test set, for a tuning seed on undrawn samples."""
    pool = task(target)
    few = pool.subset(10 * labels, seed)
    if seed in TUNING_SEEDS:
        few = held_out(pool, few, 10 * labels, seed)
    recipe = replace(RECIPE, lr=lr, batch_size=min(RECIPE.batch_size, 10 * labels))
    if method in ("scratch", "scratch, longer", "random features"):
        kind = count.ConvNet if target == "signals" else count.ConvNet2d
        network = models.build(kind(3, width), seed)
    else:
        network = transfer.adapt(pretrained(target, width, seed), 10, seed)
    if method == "scratch, longer":
        recipe = replace(recipe, steps=LONGER * recipe.steps)
    if method == "LoRA":
        network = transfer.add_lora(network, RANK, seed=seed)
    if method == "random features" or method.startswith("freeze"):
        return fit_tail(network, int(method[-1]) if method[-1].isdigit() else 3, few, recipe, seed)
    flops = 0
    if method == "probe, then fine-tune":
        _, flops = fit_tail(network, 3, few, replace(recipe, lr=probe_lr), seed)
        transfer.freeze(network, 0)
    history = fit(network, few, recipe, seed)
    one = models.counted_flops(network, models.one_sample(network.shape), training=True)
    return history.last["accuracy"], flops + recipe.steps * recipe.batch_size * one


def fit_tail(network, frozen, few, recipe, seed) -> tuple[float, int]:
    """(accuracy, FLOPs) of training what lies behind the frozen stages, in place, on features."""
    tail, features = transfer.features(network, frozen, few)
    history = fit(tail, features, recipe, seed)
    return history.last["accuracy"], tail_flops(network, tail, len(few.y_train), recipe)


def tail_flops(network, tail, n, recipe) -> int:
    """FLOPs of the features of n samples, once, and of every step of the tail."""
    whole = models.counted_flops(network, models.one_sample(network.shape))
    once = n * whole - tail.shape.matmul_flops(n)
    return once + tail.shape.matmul_flops(recipe.steps * recipe.batch_size, True)


@functools.cache
def pretrained(target, width, seed) -> torch.nn.Module:
    """A network trained on the source that belongs to the target."""
    if target == "signals":
        templates = data.random_templates(40, seed)
        source = data.signals(20_000, 1000, seed, templates=templates)
        network = models.build(count.ConvNet(3, width, n_out=40), seed)
        fit(network, source, Recipe(steps=1000, lr=1e-2, records=1), seed)
        return network
    if target == "digits":
        return pretrained("moved digits", width, seed)
    source = data.letters(24_000, 1000, seed)
    network = models.build(count.ConvNet2d(3, width, n_out=source.n_classes), seed)
    fit(network, source, Recipe(steps=1000, lr=5e-3, records=1), seed)
    return network


@functools.cache
def task(target) -> data.Dataset:
    """The target: a pool to draw labelled samples from, and a test set."""
    if target == "signals":
        return data.signals(4000, 2000, seed=0)
    return data.digits(size=16, moved=target == "moved digits")


def held_out(pool, few, n, seed) -> data.Dataset:
    """The same draw, judged by at most 1,000 samples of the pool that it leaves out."""
    numbered = replace(pool, x_train=torch.arange(len(pool.y_train)))
    rest = torch.ones(len(pool.y_train), dtype=torch.bool)
    rest[numbered.subset(n, seed).x_train] = False
    return replace(few, x_test=pool.x_train[rest][:1000], y_test=pool.y_train[rest][:1000])


if __name__ == "__main__":
    settle()
    main()
