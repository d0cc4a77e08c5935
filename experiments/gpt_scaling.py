"""The stored sweep behind 03_compute_optimal: the loss of byte-level GPTs over size and tokens.

    python experiments/gpt_scaling.py [--out notebooks/results/gpt_scaling.json] [--resume]

The runs lie on lines of equal compute, C = 6 N D with N all parameters, and each is trained to its
own end: a cosine schedule that reaches zero there. The learning rate of each size is chosen on
validation windows that no loss below is measured on. The text is this Python's own library, so
another version of Python gives slightly other losses. `--resume` goes on with what a sweep
that was cut off has not done.

Legend: N parameters, D tokens (bytes), C training FLOPs.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from modelscale import count, data, models
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole
from modelscale.train import Recipe, evaluate, fit

WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96)
BUDGETS = (2e10, 4e10, 8e10, 1.6e11, 3.2e11)  # FLOPs
TOKENS = (120_000, 5_100_000)  # shorter runs hardly begin; longer ones take minutes each
LRS = (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
TUNING_TOKENS = 250_000  # of each run that chooses a learning rate
SEEDS = (0, 1, 2)
MANY_SEEDS = 8e10  # the largest budget that every seed is run at; above, the first seed alone
RECIPE = Recipe(batch_size=16, records=4)
CONTEXT, WINDOWS = 64, 1000  # windows of the validation text to choose on, and as many to score on
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "gpt_scaling.json"


def main():
    """Run the sweep, and write what is done after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--resume", action="store_true")
    args, text = parser.parse_args(), data.text()
    result = resumed(args.out, header(text)) if args.resume else header(text)
    spent = result["seconds"] - time.process_time()
    for rows, row in sweep(text, result):
        rows.append(row)
        result["runs"].sort(key=lambda row: planned().index(key(row)))
        result["seconds"] = round(spent + time.process_time())  # of processor time
        write_whole(args.out, json.dumps(result, indent=1) + "\n")
        print(row, flush=True)


def header(text) -> dict:
    """Where, when and how the sweep is run, and no runs yet."""
    return {
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "text": repr(text),
        "seconds": 0,
        "seeds": SEEDS,
        "recipe": asdict(RECIPE),
        "rates": [],
        "runs": [],
    }


def resumed(out, here) -> dict:
    """What an earlier run stored in `out`.

    Raises: ValueError where it had another Python, text, seeds or recipe than `here`.
    """
    result = json.loads(out.read_text())
    for name in ("python", "text", "seeds", "recipe"):
        if result[name] != (wanted := json.loads(json.dumps(here[name]))):
            raise ValueError(
                f"{out.name}: {name}={result[name]!r}: it must be {wanted!r}, as here. Run without "
                "--resume."
            )
    return result


def sweep(text, result):
    """Yields (the list it belongs to, the row) of every run still to do, as soon as it is done."""
    for width, lr in list(product(WIDTHS, LRS))[len(result["rates"]) :]:
        yield result["rates"], train(text, width, TUNING_TOKENS, lr, 0, records=1)
    lrs = chosen_rates(result["rates"])
    done = [key(row) for row in result["runs"]]
    for seed, budget, width in [run for run in planned() if run not in done]:
        tokens = budget / (6 * shape(width).params)
        yield result["runs"], {"C": budget} | train(text, width, tokens, lrs[width], seed)


def key(row) -> tuple:
    """What tells a run from all others, as in `planned`."""
    return row["seed"], row["C"], row["width"]


def planned() -> list:
    """(seed, budget, width) of every run, in order; beyond MANY_SEEDS the first seed alone."""
    few = [(seed, *cell) for seed in SEEDS for cell in cells()]
    return [row for row in few if row[0] == SEEDS[0] or row[1] <= MANY_SEEDS]


def cells() -> list:
    """The (budget, width) pairs whose tokens lie within TOKENS, the cheapest budget first."""
    low, high = TOKENS
    return [
        (budget, width)
        for budget, width in product(BUDGETS, WIDTHS)
        if low <= budget / (6 * shape(width).params) <= high
    ]


def shape(width) -> count.Transformer:
    """The network of this width: two layers, two heads, rotary positions, bytes as tokens."""
    return count.Transformer(2, width, 2, vocab_size=256, context=CONTEXT, positions="rotary")


def chosen_rates(rates) -> dict:
    """{width: the learning rate with the lowest loss on the windows to choose on}."""
    best = {}
    for row in sorted(rates, key=lambda row: row["tuning_loss"]):
        best.setdefault(row["width"], row["lr"])
    return best


def train(text, width, tokens, lr, seed, records=RECIPE.records) -> dict:
    """One run to its end: what it was, the losses at the end, and those on the way to it."""
    net, step_tokens = shape(width), RECIPE.batch_size * CONTEXT
    steps = max(1, round(tokens / step_tokens))
    recipe = replace(RECIPE, steps=steps, lr=lr, records=records)
    network = models.build(net, seed)
    (tune_x, tune_y), (score_x, score_y) = windows(text)
    path = []

    def note(step, record):
        path.append([step * step_tokens, round(evaluate(network, score_x, score_y)[0], 4)])

    fit(network, text, recipe, seed, callback=note)
    return {
        "width": width,
        "N": net.params,
        "N_non_embedding": net.params_non_embedding,
        "D": recipe.steps * step_tokens,
        "lr": lr,
        "seed": seed,
        "loss": path[-1][1],
        "tuning_loss": round(evaluate(network, tune_x, tune_y)[0], 4),
        "path": path[:-1],
    }


def windows(text) -> list:
    """[(x, y) to choose learning rates on, (x, y) to score on]: every other validation window."""
    x, y = text.val_batches(2 * WINDOWS, CONTEXT, 1)[0]
    return [(x[0::2], y[0::2]), (x[1::2], y[1::2])]


if __name__ == "__main__":
    settle()
    main()
