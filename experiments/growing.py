"""The stored sweep behind notebook 07: grown, from scratch or fine-tuned at equal total FLOPs.

    python experiments/growing.py [--out notebooks/results/growing.json]

Every run ends with the big network (but for "small") and has spent the whole of its budget,
counted from its first step: what was paid for the small network, or for pretraining on other
signals, is missing at the end. Two methods alone are not charged for what came before, as if a
network stood ready: "grown, free" and "fine-tuned, free". The learning rate of the last phase is
chosen for every method at every budget, on other seeds and another draw of the data. A seed stands
for the initial weights and the order of the samples.
"""

import argparse
import functools
import json
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from modelscale import count, data, growth, models, transfer
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, fit_many

SMALL, BIG = count.MLP(2, 32), count.MLP(2, 128)
SAMPLES = {"fresh": 1_250_000, "1,000 samples": 1000}  # fresh: nearly none is seen twice
BUDGETS = {"fresh": (125, 250, 500, 1000, 2000), "1,000 samples": (125, 500, 1000)}  # big steps
SHARES = {"grown": (0.1, 0.3, 0.6), "fine-tuned": (0.1, 0.3)}  # spent before the last phase
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (100, 101)
LRS = (3e-3, 1e-2, 3e-2)
EARLY_LR = 1e-2  # of the constant rate of a first phase, the best of LRS on the tuning seeds
NOISE = 1.0  # on the tuning seeds 0.5 and 2 do about as well, 4 does worse
FREE = {"grown, free": SMALL, "fine-tuned, free": BIG}  # what stands ready
FREE_STEPS, SOURCE_CLASSES = 2000, 40  # of what stands ready; of the source
RECIPE = Recipe(records=6)
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "growing.json"


def main():
    """Run the sweep and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin, runs = parser.parse_args().out, time.process_time(), []
    cells = [(samples, steps) for samples in SAMPLES for steps in BUDGETS[samples]]
    for (samples, steps), (method, share) in product(cells, methods()):
        found = best_of_rates(samples, steps, method, share)
        runs += found
        write(out, runs, time.process_time() - begin)
        print(samples, steps, method, share, [run["loss"] for run in found], flush=True)


def write(out, runs, seconds) -> None:
    """Write what is done so far, with all that one needs to make it again."""
    about = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds),  # of one core
        "seeds": SEEDS,
        "tuning_seeds": TUNING_SEEDS,
        "lrs": LRS,
        "early_lr": EARLY_LR,
        "noise": NOISE,
        "recipe": asdict(RECIPE),
    }
    rows = ",\n".join(json.dumps(row) for row in runs)  # a line a run: it is read by people too
    write_whole(out, json.dumps(about, indent=1)[:-2] + f',\n "runs": [\n{rows}\n]}}\n')


def methods() -> list[tuple]:
    """(method, share of the budget before the last phase) of every column of the sweep."""
    paid = [(method, share) for method in SHARES for share in SHARES[method]]
    return [("scratch", None), ("small", None), *paid, *((method, None) for method in FREE)]


def best_of_rates(samples, steps, method, share) -> list[dict]:
    """A row for each seed, at the rate with the best mean loss on the tuning seeds."""
    tuning, _ = last_phase(task(samples, 1), steps, method, share, TUNING_SEEDS, LRS)
    n = len(TUNING_SEEDS)
    tried = [sum(h.test_loss[-1] for h in tuning[n * i : n * i + n]) for i in range(len(LRS))]
    lr = LRS[tried.index(min(tried))]
    histories, paid = last_phase(task(samples, 0), steps, method, share, SEEDS, [lr])
    about = {
        "method": method,
        "samples": samples,
        "budget_flops": budget(steps),
        "grown_at": share,
        "net": "mlp",
        "small": None if method == "scratch" else asdict(SMALL),
        "big": None if method == "small" else asdict(BIG),
        "lr": lr,
        "paid_before_flops": paid,
    }
    return [about | {"seed": s} | curves(h, paid) for s, h in zip(SEEDS, histories, strict=True)]


def last_phase(where, steps, method, share, seeds, lrs) -> tuple[list, int]:
    """(histories by rate, then seed; FLOPs spent before) of what is trained to the end."""
    begun, paid = begin_with(where, steps, method, share, seeds)
    flops = step_flops(begun[0].shape)
    recipe = replace(RECIPE, steps=round((budget(steps) - paid) / flops))
    members = [(lr, s, model) for lr in lrs for s, model in zip(seeds, begun, strict=True)]
    rates, numbers, networks = zip(*members, strict=True)
    fresh = [rebuilt(model) for model in networks]
    return fit_many(fresh, where, recipe, numbers, rates), paid


def begin_with(where, steps, method, share, seeds) -> tuple[list, int]:
    """(the networks that the last phase starts from, FLOPs charged for them)."""
    if method == "small":
        return [models.build(SMALL, s) for s in seeds], 0
    if method == "scratch":
        return [models.build(BIG, s) for s in seeds], 0
    if method.startswith("grown"):
        early, paid = first_phase(where, SMALL, steps, share, seeds)
        pairs = zip(early, seeds, strict=True)
        return [growth.widen(model, NOISE, s, width=BIG.width) for model, s in pairs], paid
    early, paid = first_phase(source(), replace(BIG, n_out=SOURCE_CLASSES), steps, share, seeds)
    return [transfer.adapt(m, BIG.n_out, s) for m, s in zip(early, seeds, strict=True)], paid


def first_phase(where, shape, steps, share, seeds) -> tuple[list, int]:
    """(networks, FLOPs charged for them): trained at a constant rate.

    Until a `share` of the budget is spent; without one for FREE_STEPS, which nobody pays.
    """
    each = step_flops(shape)
    early = max(1, round(share * budget(steps) / each)) if share else FREE_STEPS
    networks = [models.build(shape, s) for s in seeds]
    recipe = replace(RECIPE, steps=early, lr=EARLY_LR, lr_schedule="none", records=1)
    fit_many(networks, where, recipe, [s + 1000 for s in seeds])  # another order than later on
    return networks, early * each if share else 0


def rebuilt(model):
    """A copy of `model` of its own."""
    copy = models.build(model.shape)
    copy.load_state_dict(model.state_dict())
    return copy


def budget(steps) -> int:
    """The FLOPs of so many steps of the big network."""
    return steps * step_flops(BIG)


def step_flops(shape) -> int:
    """The FLOPs of one step of a network of this shape."""
    return shape.train_flops(RECIPE.batch_size)


def curves(history, paid) -> dict:
    """The curve of one run, against all FLOPs that it was charged for."""
    curve = {
        "flops": [paid + flops for flops in history.flops],
        "loss": [round(loss, 4) for loss in history.test_loss],
        "accuracy": [round(a, 4) for a in history.accuracy],
    }
    return {"curve": curve, "loss": curve["loss"][-1], "accuracy": curve["accuracy"][-1]}


@functools.cache
def task(samples, seed) -> data.Dataset:
    """The signals of the course, so many of them, and 4,000 to test."""
    return data.signals(SAMPLES[samples], 4000, seed)


@functools.cache
def source() -> data.Dataset:
    """Signals of other templates, to be pretrained on."""
    templates = data.random_templates(SOURCE_CLASSES, seed=0)
    return data.signals(130_000, 1000, seed=2, templates=templates)


if __name__ == "__main__":
    settle()
    main()
