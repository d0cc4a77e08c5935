"""The stored sweep of GPTs behind notebook 07: stacked, deepened, widened or from scratch.

    python experiments/growing_gpt.py [--out notebooks/results/growing_gpt.json]

Byte-level GPTs on this Python's own library, all at equal total FLOPs, the small network's included
(6 N + 12 L H Q T a token, as `History.flops` counts). What grows takes its optimizer state along.
The learning rate of the last phase is chosen for every method at every budget, on another seed and
on validation windows that no loss below is measured on. A seed stands for the initial weights and
the order of the windows.
"""

import argparse
import functools
import json
import platform
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from modelscale import count, data, growth, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, evaluate, fit

BIG = count.Transformer(n_layer=4, d_model=12, n_head=4, vocab_size=256, context=64)
SHALLOW = replace(BIG, n_layer=1)
THIN = replace(BIG, n_head=1, head_dim=3, d_ff=12)
SMALL = {"stacked": SHALLOW, "deepened": SHALLOW, "widened": THIN, "shallow": SHALLOW, "thin": THIN}
BUDGETS = (2e10,)  # FLOPs: in 03_compute_optimal the best size there is a good deal below BIG
SHARE = 0.3  # of the budget, spent on the small network
SEEDS, TUNING_SEED = (0, 1, 2), 100
LRS = (8e-3, 1.6e-2)
EARLY_LR = 1.6e-2  # the best for networks of this size in 03_compute_optimal
NOISE = 1.0
WINDOWS = 1000  # to choose on, and as many others to score on
RECIPE = Recipe(batch_size=16, records=8)
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "growing_gpt.json"
METHODS = ("scratch", "shallow", "thin", "stacked", "deepened", "widened")


def main():
    """Run the sweep and write its result after every method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin, runs = parser.parse_args().out, time.process_time(), []
    for budget, method in product(BUDGETS, METHODS):
        runs += best_of_rates(budget, method)
        write(out, runs, time.process_time() - begin)
        losses = [run["loss"] for run in runs[-len(SEEDS) :]]
        print(f"{budget:g}", method, runs[-1]["lr"], losses, flush=True)


def write(out, runs, seconds) -> None:
    """Write what is done so far, with all that one needs to make it again."""
    about = {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "text": repr(text()),
        "seconds": round(seconds),  # of one core
        "seeds": SEEDS,
        "tuning_seed": TUNING_SEED,
        "lrs": LRS,
        "early_lr": EARLY_LR,
        "share": SHARE,
        "noise": NOISE,
        "shapes": {"big": asdict(BIG), "shallow": asdict(SHALLOW), "thin": asdict(THIN)},
        "recipe": asdict(RECIPE),
    }
    rows = ",\n".join(json.dumps(row) for row in runs)  # a line a run: it is read by people too
    write_whole(out, json.dumps(about, indent=1)[:-2] + f',\n "runs": [\n{rows}\n]}}\n')


def best_of_rates(budget, method) -> list[dict]:
    """A row for each seed, at the rate with the best loss on the tuning seed and windows."""
    tried = {lr: train(budget, method, lr, TUNING_SEED)["tuning_loss"] for lr in LRS}
    lr = min(tried, key=tried.get)
    about = {"method": method, "budget_flops": budget, "lr": lr, "tried": list(tried.values())}
    return [about | {"seed": seed} | train(budget, method, lr, seed) for seed in SEEDS]


def train(budget, method, lr, seed) -> dict:
    """What one run leaves behind: its curve against all FLOPs, and where it ended."""
    model, state, curve = begun(budget, method, seed)
    paid = curve["flops"][-1] if curve["flops"] else 0
    steps = round((budget - paid) / step_flops(model.shape))
    history = fit(model, text(), replace(RECIPE, steps=steps, lr=lr), seed, state=state)
    add(curve, history, paid)
    choose, score = text().val_batches(WINDOWS, BIG.context, 2)
    return {
        "grown_at_flops": paid,
        "params": model.shape.params,
        "curve": curve,
        "loss": round(evaluate(model, *score)[0], 4),
        "tuning_loss": round(evaluate(model, *choose)[0], 4),
    }


def begun(budget, method, seed) -> tuple:
    """(network, optimizer state, curve so far) as they stand when the last phase begins."""
    curve = {"flops": [], "loss": []}
    small = models.build(SMALL.get(method, BIG), seed)
    if method in ("scratch", "shallow", "thin"):
        return small, {}, curve
    steps = round(SHARE * budget / step_flops(small.shape))
    recipe, state = replace(RECIPE, steps=steps, lr=EARLY_LR, lr_schedule="none"), {}
    history = fit(small, text(), recipe, seed + 1000, state=state)  # another order than later on
    add(curve, history, 0)
    big = grown(method, small, seed)
    return big, growth.carry(state, big), curve


def grown(method, small, seed):
    """The network of the shape BIG that `small` becomes."""
    if method == "stacked":
        return growth.stack(small, n_layer=BIG.n_layer)
    if method == "deepened":
        return growth.deepen(small, seed=seed, n_layer=BIG.n_layer)
    return growth.widen(small, NOISE, seed, n_head=BIG.n_head, d_ff=BIG.ff_width)


def step_flops(shape) -> int:
    """FLOPs of one training step, as `History.flops` counts them."""
    return shape.train_flops_per_token() * RECIPE.batch_size * shape.context


def add(curve, history, paid) -> None:
    """Lengthen the curve by a history that began when so much was paid."""
    curve["flops"] += [paid + flops for flops in history.flops]
    curve["loss"] += [round(loss, 4) for loss in history.test_loss]


@functools.cache
def text() -> data.Text:
    """The whole library of this Python."""
    return data.text()


if __name__ == "__main__":
    settle()
    main()
