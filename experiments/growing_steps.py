"""The stored sweep behind the explorer of notebook 07: one network grown step by step.

    python experiments/growing_steps.py [--out notebooks/results/growing_steps.json]

An MLP starts narrow and doubles its width until it has that of BIG, by equal copies, by unequal
ones or by fresh units; every width gets the same share of the FLOPs. All runs of a budget spend the
same FLOPs in total, at one peak learning rate: constant until the last width is reached, then
warmed up anew and decayed to zero. A seed stands for the initial weights and the order of the
samples, of which nearly none is seen twice.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from modelscale import count, data, growth, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit_many

BIG = count.MLP(2, 64)
STARTS = (8, 16, 32, 64)  # the first width; 64 is from scratch
BUDGETS = (125, 500, 1000)  # steps of BIG
KINDS = {  # of growing: what widen is told
    "equal copies": {},
    "unequal copies": {"noise": 1.0},
    "fresh neurons": {"units": "fresh"},
}
SEEDS = (0, 1, 2, 3, 4)
RECIPE = Recipe(lr=1e-2, records=6)
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "growing_steps.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin, runs = parser.parse_args().out, time.process_time(), []
    signals = task()
    for steps, start in product(BUDGETS, STARTS):
        for kind in KINDS if start < BIG.width else ("from scratch",):
            runs += grow(signals, steps, start, kind)
            write(out, runs, time.process_time() - begin)
            print(steps, start, kind, [run["loss"][-1] for run in runs[-len(SEEDS) :]], flush=True)


def write(out, runs, seconds) -> None:
    """Write what is done so far, with all that one needs to make it again."""
    about = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds),  # of one core
        "seeds": SEEDS,
        "recipe": asdict(RECIPE),
    }
    rows = ",\n".join(json.dumps(row) for row in runs)  # a line a run: it is read by people too
    write_whole(out, json.dumps(about, indent=1)[:-2] + f',\n "runs": [\n{rows}\n]}}\n')


def grow(signals, steps, start, kind) -> list[dict]:
    """A row for each seed: its curve against all FLOPs, and the FLOPs at which it grew."""
    widths = [start * 2**i for i in range(BIG.width) if start * 2**i <= BIG.width]
    networks = [models.build(replace(BIG, width=start), seed) for seed in SEEDS]
    curves = [{"flops": [], "loss": [], "accuracy": []} for _ in SEEDS]
    paid, grown_at = 0, []
    for phase, width in enumerate(widths):
        if phase:
            grown_at.append(paid)
            pairs = zip(networks, SEEDS, strict=True)
            networks = [growth.widen(m, seed=s, width=width, **KINDS[kind]) for m, s in pairs]
        left = (steps * step_flops(BIG) - paid) / (len(widths) - phase)
        n = max(1, round(left / step_flops(networks[0].shape)))
        schedule = "cosine" if width == BIG.width else "none"
        orders = [seed + 1000 * phase for seed in SEEDS]
        histories = fit_many(
            networks, signals, replace(RECIPE, steps=n, lr_schedule=schedule), orders
        )
        for curve, history in zip(curves, histories, strict=True):
            curve["flops"] += [paid + flops for flops in history.flops]
            curve["loss"] += [round(loss, 4) for loss in history.test_loss]
            curve["accuracy"] += [round(share, 4) for share in history.accuracy]
        paid += n * step_flops(networks[0].shape)
    about = {"budget_flops": steps * step_flops(BIG), "start": start, "kind": kind}
    about |= {"grown_at_flops": grown_at}
    return [about | {"seed": seed} | curve for seed, curve in zip(SEEDS, curves, strict=True)]


def task() -> data.Dataset:
    """The signals of the course, so many that nearly none is seen twice."""
    return data.signals(600_000, 2000)


def step_flops(shape) -> int:
    """The FLOPs of one step of a network of this shape."""
    return shape.train_flops(RECIPE.batch_size)


if __name__ == "__main__":
    settle()
    main()
