"""The stored sweep behind notebooks 08 and 09: what each way of saving costs in accuracy.

    python experiments/compression.py [--parts clock] [--out notebooks/results/compression.json]

A network of three hidden layers, and smaller or faster ones made from it or trained in its place,
on 20,000 signals. A seed stands for a draw of the signals and the networks trained on it. The
learning rate of every cell is chosen on other seeds. `--parts clock` measures nothing but the
seconds of a forward pass, on the machine it runs on, and leaves the accuracies as they are.
"""

import argparse
import functools
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modelscale import compress, count, data, growth, models, timing
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, evaluate, fit


@dataclass(frozen=True)
class Variant:
    """One network of the comparison: how it came to be, its size, and how it is stored and run.

    `method` "alone" is trained from scratch, "longer" for as many FLOPs as the big network took,
    "distilled" with a teacher; "narrowed", "low rank" and "pruned" are cut out of the big network
    and trained on. `size` is the number of neurons a layer, the rank, the share of weights cut, or
    the number of experts.
    """

    method: str
    size: float
    stored: str = "float32"

    @property
    def name(self) -> str:
        """What a figure calls it: "narrowed 64", "alone 256, int8"."""
        size = f"{self.size:.0%}" if self.method == "pruned" else f"{self.size:g}"
        return f"{self.method} {size}" + ("" if self.stored == "float32" else f", {self.stored}")

    @property
    def shape(self):
        """The shape that training begins with."""
        if self.method == "experts":
            return count.MixtureMLP(depth=1, d_model=64, d_ff=128, n_expert=int(self.size))
        own = self.method in ("alone", "longer", "distilled")
        return count.MLP(DEPTH, int(self.size) if own else BIG)

    @property
    def is_cut(self) -> bool:
        """Whether it is made from a trained big network."""
        return self.method in ("narrowed", "low rank", "pruned")

    def cut(self, big: nn.Module) -> nn.Module:
        """The part of `big` that is kept: not yet trained on, not yet stored."""
        if self.method == "narrowed":
            return growth.narrow(big, width=int(self.size))
        if self.method == "low rank":
            return compress.low_rank(big, int(self.size))
        return compress.prune(big, self.size)

    def store(self, model: nn.Module) -> nn.Module:
        """`model` in the form in which it is kept and run: (B, n_in) -> (B, n_out), in float32.

        No processor of today's laptops multiplies by 4-bit weights: those are computed in float32.
        """
        return {
            "float32": lambda m: m,
            "bfloat16": compress.InHalf,
            "int8": compress.int8,
            "4 bits": lambda m: compress.quantise(m, 4),
            "sparse": compress.sparse,
        }[self.stored](model)

    def stored_bytes(self, stored: nn.Module) -> int:
        """Bytes that `stored`, made by `store`, takes; 4-bit weights as two to a byte."""
        size = compress.model_bytes(stored)
        if self.stored != "4 bits":
            return size
        weights = [layer.weight for layer in compress.layers.weighted(stored).values()]
        return size + sum(w.numel() // 2 + 4 * len(w) - 4 * w.numel() for w in weights)

    def untrained(self, seed: int = 0) -> nn.Module:
        """A network as large and as fast as this variant, its weights drawn: for the clock."""
        model = models.build(self.shape, seed)
        return self.store(self.cut(model) if self.is_cut else model)


DEPTH, BIG = 3, 256  # hidden layers; neurons a layer of the network that is made smaller
SAMPLES, FEW, TEST = 20_000, 2_000, 4_000
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (100, 101)
HEAD_SEEDS = SEEDS[:3]  # of the head start, whose runs are long
RECIPE = Recipe(steps=600, batch_size=128, records=1)
RETRAIN = replace(RECIPE, steps=200)
LRS, RETRAIN_LRS = (3e-3, 1e-2, 3e-2), (1e-3, 3e-3, 1e-2)
TEMPERATURE, SHARE = 2.0, 0.9  # of distillation: mostly the teacher, with a part for the labels
STUDENT = 64  # neurons a layer of the student with few labels, and of the slice
FURTHER = (200, 600, 2400)  # steps of that slice, or of a network from scratch
BATCHES, ROUNDS = (1, 16, 256), 31  # samples a pass, timings of each
SHARES = (0.5, 0.8, 0.9, 0.95)
VARIANTS = (
    *(Variant("alone", width) for width in (16, 32, 64, 128, BIG, 512)),
    *(Variant("alone", width, s) for width in (128, BIG, 512) for s in ("bfloat16", "int8")),
    Variant("alone", BIG, "4 bits"),
    *(Variant("longer", width) for width in (64, 128)),
    *(Variant("distilled", width) for width in (32, 64, 128)),
    *(Variant("narrowed", width) for width in (32, 64, 96, 128)),
    Variant("narrowed", 128, "int8"),
    *(Variant("low rank", rank) for rank in (8, 16, 32, 64)),
    Variant("low rank", 32, "int8"),
    *(Variant("pruned", share, s) for share in SHARES for s in ("float32", "sparse")),
    *(Variant("experts", n) for n in (1, 4, 8, 16)),
)
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "compression.json"


def main():
    """Run the sweep, or the parts of it that are asked for, and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    result = json.loads(args.out.read_text()) if args.out.exists() else {}
    for part in args.parts:
        begin = time.process_time()
        result |= PARTS[part](result)
        result.setdefault("seconds", {})[part] = round(time.process_time() - begin)  # of one core
        measured_here = "cells" in args.parts  # else the accuracies stay those of another run
        write(args.out, result | about() if measured_here else about() | result)


def write(out, result) -> None:
    """Write the result, a line a row: it is read by people too."""
    tables = [
        name
        for name, rows in result.items()
        if isinstance(rows, list) and isinstance(rows[0], dict)
    ]
    head = json.dumps({k: v for k, v in result.items() if k not in tables}, indent=1)[:-2]
    rows = {name: ",\n".join(map(json.dumps, result[name])) for name in tables}
    tail = "".join(f',\n "{n}": [\n{text}\n]' for n, text in rows.items())
    write_whole(out, head + tail + "}\n")


def about() -> dict:
    """Where the numbers come from."""
    return {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seeds": SEEDS,
        "tuning_seeds": TUNING_SEEDS,
        "samples": SAMPLES,
        "recipe": asdict(RECIPE),
        "retrain_steps": RETRAIN.steps,
    }


def accuracies(_) -> dict:
    """A row for each variant: what it costs, and its accuracy on every seed."""
    rows = []
    for variant in VARIANTS:
        trained = [train(plain(variant), seed) for seed in SEEDS]
        stored = [variant.store(model) for model in trained]
        rows.append(
            {"name": variant.name}
            | asdict(variant)
            | {
                "params": sum(p.numel() for p in trained[0].parameters()),
                "bytes": variant.stored_bytes(stored[0]),
                "flops": models.counted_flops(stored[0], torch.zeros(1, 40)),
                "lr": rate(plain(variant)),
                "accuracy": [accuracy(m, seed) for m, seed in zip(stored, SEEDS, strict=True)],
                "as_cut": as_cut(variant) if variant.is_cut else None,
            }
        )
        print(variant.name, rows[-1]["lr"], rows[-1]["accuracy"], flush=True)
    return {"cells": rows}


def as_cut(variant) -> list[float]:
    """The accuracy on every seed before the network is trained on."""
    big = [train(Variant("alone", BIG), seed) for seed in SEEDS]
    return [accuracy(variant.cut(b), seed) for b, seed in zip(big, SEEDS, strict=True)]


def plain(variant) -> Variant:
    """The variant that is trained, whatever the form it is stored in."""
    return replace(variant, stored="float32")


@functools.cache
def train(variant, seed, lr=None):
    """The trained network of a variant, in float32. It is kept: change copies only."""
    lr = lr or rate(variant)
    recipe = replace(RECIPE, lr=lr)
    if variant.is_cut:
        model = variant.cut(train(Variant("alone", BIG), seed))
        fit(model, task(seed), replace(RETRAIN, lr=lr), seed + 1000)
        return model
    model = models.build(variant.shape, seed)
    if variant.method == "distilled":
        teacher = train(Variant("alone", BIG), seed)
        compress.distil(model, teacher, task(seed), recipe, TEMPERATURE, SHARE, seed)
        return model
    if variant.method == "longer":
        recipe = replace(recipe, steps=longer_steps(variant.shape))
    fit(model, task(seed), recipe, seed)
    return model


def longer_steps(shape) -> int:
    """Steps for as many FLOPs as the big network took."""
    big = RECIPE.steps * count.MLP(3, BIG).train_flops(RECIPE.batch_size)
    return round(big / shape.train_flops(RECIPE.batch_size))


@functools.cache
def rate(variant) -> float:
    """The learning rate with the best mean accuracy on the tuning seeds."""
    if variant.method in ("distilled", "longer"):
        return rate(Variant("alone", variant.size))  # as a network of its size alone
    rates = RETRAIN_LRS if variant.is_cut else LRS
    tried = [[accuracy(train(variant, s, lr), s) for s in TUNING_SEEDS] for lr in rates]
    return rates[int(np.argmax(np.mean(tried, 1)))]


def few_labels(result) -> dict:
    """Accuracies with 2,000 labels: teacher, student alone, with the teacher's answers, on more."""
    rows = []
    teacher_recipe, recipe = (lr_of(result, Variant("alone", w)) for w in (BIG, STUDENT))
    for seed in SEEDS:
        scarce, teacher = task(seed).subset(FEW, seed), models.build(count.MLP(3, BIG), seed)
        fit(teacher, scarce, teacher_recipe, seed)
        row = {"seed": seed, "teacher": accuracy(teacher, seed)}
        for name, where, share in (
            ("alone", scarce, 0.0),
            ("same signals", scarce, SHARE),
            ("unlabelled", task(seed), 1.0),  # the teacher's answers alone: no label is looked at
        ):
            student = models.build(count.MLP(3, STUDENT), seed)
            compress.distil(student, teacher, where, recipe, TEMPERATURE, share, seed)
            row[name] = accuracy(student, seed)
        rows.append(row)
        print(row, flush=True)
    return {"few_labels": rows}


def head_start(result) -> dict:
    """Accuracies of a small network by further steps: from scratch, or cut out of a big one."""
    rows, shape = [], count.MLP(3, STUDENT)
    keys = (("alone", BIG), ("alone", STUDENT), ("narrowed", STUDENT))
    big_recipe, scratch, cut = (lr_of(result, Variant(*key)) for key in keys)
    for seed in HEAD_SEEDS:
        big = models.build(count.MLP(3, BIG), seed)
        fit(big, task(seed), big_recipe, seed)
        for start, how in (("scratch", scratch), ("slice", cut)):
            row = {"seed": seed, "start": start}
            for steps in FURTHER:
                fresh = start == "scratch"
                net = models.build(shape, seed) if fresh else growth.narrow(big, width=STUDENT)
                fit(net, task(seed), replace(how, steps=steps), seed + 1000)
                row[str(steps)] = accuracy(net, seed)
            rows.append(row)
            print(row, flush=True)
    return {"head_start": rows}


def lr_of(result, variant) -> Recipe:
    """The recipe of a variant, at the rate that was chosen for it."""
    (cell,) = (c for c in result["cells"] if c["name"] == variant.name)
    return replace(RECIPE, lr=cell["lr"])


def clock(_) -> dict:
    """The seconds of a forward pass of every variant at every batch size, on this machine."""
    networks, rows = {variant.name: variant.untrained() for variant in VARIANTS}, []
    for batch in BATCHES:
        x = torch.randn(batch, 40, generator=torch.Generator().manual_seed(0))
        for name, seconds in compress.forward_s(networks, x, ROUNDS).items():
            found = (float(f"{q:.3g}") for q in np.quantile(seconds, (0.1, 0.5, 0.9)))
            named = zip(("fast", "median", "slow"), found, strict=True)
            rows.append({"name": name, "batch": batch, **dict(named)})
    about = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "rounds": ROUNDS}
    return {"clock": about, "products": products(), "passes": rows}


@torch.inference_mode()
def products() -> dict:
    """Seconds of a 256 x 512 by 512 x 512 product in each kind of number there is.

    In integers it is computed twice: as `compress.int8` does, its rounding of the inputs included,
    and by the bare product that torchao's eager path calls (no public name, so it may be missing).
    """
    x, layer = torch.randn(256, 512), nn.Linear(512, 512)
    half, whole = compress.InHalf(layer), compress.int8(nn.Sequential(layer))
    x8, w8 = (torch.randint(-127, 128, t.shape, dtype=torch.int8) for t in (x, layer.weight.T))
    ways = {
        "float32": lambda: layer(x),
        "bfloat16": lambda: half(x),
        "int8, torch.ops.quantized": lambda: whole(x),
    }
    if hasattr(torch, "_int_mm"):
        ways["int8, torch._int_mm"] = lambda: torch._int_mm(x8, w8)
    taken_s = timing.in_turn_s(ways, ROUNDS)
    return {kind: float(f"{np.median(seconds):.3g}") for kind, seconds in taken_s.items()}


def compiled(_) -> dict:
    """Seconds of compiling three networks, and of a forward pass before and after."""
    rows = []
    for width in (64, BIG, 512):
        for batch in BATCHES[::2]:
            network = models.build(count.MLP(3, width), 0).eval()
            x = torch.randn(batch, 40, generator=torch.Generator().manual_seed(0))
            torch._dynamo.reset()
            begin = time.perf_counter()
            fast = torch.compile(network)
            no_caches = torch.compiler.config.patch(force_disable_caches=True)
            with no_caches, torch.inference_mode():  # not an earlier run's
                fast(x)
            row = {"width": width, "batch": batch, "compiling": round(time.perf_counter() - begin)}
            taken = compress.forward_s({"eager": network, "compiled": fast}, x, ROUNDS)
            rows.append(row | {k: float(f"{np.median(v):.3g}") for k, v in taken.items()})
    return {"compiled": {"machine": describe_machine(), "rounds": ROUNDS, "rows": rows}}


def accuracy(model, seed) -> float:
    """The share of test signals that `model` names rightly."""
    return round(evaluate(model, *test(seed))[1], 4)


@functools.cache
def task(seed) -> data.Dataset:
    """The signals of one seed."""
    return data.signals(SAMPLES, TEST, seed)


def test(seed) -> tuple:
    """Test signals and their labels."""
    return task(seed).x_test, task(seed).y_test


PARTS = {
    "cells": accuracies,
    "few_labels": few_labels,
    "head_start": head_start,
    "clock": clock,
    "compiled": compiled,
}

if __name__ == "__main__":
    settle()
    main()
