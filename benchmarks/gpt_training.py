"""Training tokens/s of `fit` against a plain eager PyTorch loop of the same GPT, in turn.

    python benchmarks/gpt_training.py [--rounds 7] [--bfloat16] [--widths 256] [--losses]

4 layers, 4 heads, context 64, batch 12, AdamW, clipping at 1.0, one thread. Every measurement is a
process of its own, so that what modelscale sets does not reach the plain loop, which is in float32.
The share beside each figure is model FLOP/s (exact matrix products) over the matrix FLOP/s of one
core in the same format, measured in the same process.

With --bfloat16, for processors with units for it, `fit` runs in mixed precision too; with --losses
it is trained for 400 steps on text in both formats, with five seeds. Results are kept by machine
and width. On a busy Linux machine `chrt --rr 1` before it, as root, keeps others out of them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from modelscale.files import write_whole

OUT = Path(__file__).resolve().parent / "results" / "gpt_training.json"
LAYERS, HEADS, CONTEXT, BATCH, VOCABULARY = 4, 4, 64, 12, 256
WIDTHS, STEPS = (128, 256), {128: 60, 256: 25}
LOSS_STEPS, LOSS_SEEDS, LOSS_WIDTH = 400, range(5), 256


def main():
    """Run the loops in turn and write tokens/s and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--losses", action="store_true")
    parser.add_argument("--loop", choices=("plain", "float32", "bfloat16"))
    args = parser.parse_args()
    if args.loop:
        (width,) = args.widths
        plain = args.loop == "plain"
        print(json.dumps(plain_loop(width) if plain else our_loop(width, args.loop)))
        return
    from modelscale.dial import describe_machine

    precisions = ("float32", "bfloat16") if args.bfloat16 else ("float32",)
    machines = json.loads(OUT.read_text()) if OUT.exists() else {}
    result = machines.setdefault(describe_machine(), {"widths": {}})
    result |= {"date": time.strftime("%Y-%m-%d"), "rounds": args.rounds, "scheduling": scheduling()}
    for width in args.widths:
        result["widths"][str(width)] = compared(width, args.rounds, precisions)
    if args.losses:
        result["losses"] = losses()
    machines[describe_machine()] = result
    write_whole(OUT, json.dumps(machines, indent=1) + "\n")


def scheduling() -> str:
    """Whether other programs of the machine could take this one's time."""
    if hasattr(os, "SCHED_RR") and os.sched_getscheduler(0) == os.SCHED_RR:
        return "real-time priority: other programs do not count"
    return "ordinary"


def compared(width, rounds, precisions) -> dict:
    """Medians of tokens/s and of shares, and the ratios of each round, at one width."""
    loops = ("plain", *precisions)
    runs = [{loop: measured(loop, width) for loop in loops} for _ in range(rounds)]
    row = {}
    for loop in loops:
        row[loop] = {
            "tokens_per_s": round(median(run[loop]["tokens_per_s"] for run in runs)),
            "share": round(median(run[loop]["share"] for run in runs), 3),
        }
        ratios = [run[loop]["tokens_per_s"] / run["plain"]["tokens_per_s"] for run in runs]
        if loop != "plain":
            row[loop]["ratio"] = round(median(ratios), 3)
            row[loop]["ratios"] = [round(ratio, 3) for ratio in sorted(ratios)]
    print(width, row, flush=True)
    return row


def losses() -> list:
    """Of each seed: training and test loss in nats after the same steps, in both formats."""
    from modelscale import data, models
    from modelscale.train import Recipe, fit

    text = data.text(2_000_000)
    rows = []
    for seed in LOSS_SEEDS:
        row = {"seed": seed}
        for precision in ("float32", "bfloat16"):
            recipe = Recipe(LOSS_STEPS, BATCH, 1e-3, records=8, precision=precision)
            history = fit(models.build(gpt_shape(LOSS_WIDTH), seed), text, recipe, seed)
            row[precision] = [round(history.loss[-1], 4), round(history.test_loss[-1], 4)]
        print(row, flush=True)
        rows.append(row)
    return rows


def measured(loop, width) -> dict:
    """What one loop reached, measured in a fresh process."""
    command = [sys.executable, __file__, "--loop", loop, "--widths", str(width)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def plain_loop(width) -> dict:
    """The loop one would write at first: no modelscale, torch's defaults, one thread."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = plain_gpt(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    text = torch.randint(VOCABULARY, (100_000,))
    times = []
    for step in range(STEPS[width]):
        if step == 5:
            begin = time.perf_counter()
        at = torch.randint(len(text) - CONTEXT - 1, (BATCH,))
        x = torch.stack([text[i : i + CONTEXT] for i in at])
        y = torch.stack([text[i + 1 : i + 1 + CONTEXT] for i in at])
        loss = F.cross_entropy(model(x).view(-1, VOCABULARY), y.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(loss.item())
    return reached(time.perf_counter() - begin, STEPS[width] - 5, width)


def our_loop(width, precision) -> dict:
    """`fit` on random bytes."""
    import torch

    from modelscale import data, models
    from modelscale.train import Recipe, fit

    tokens = torch.randint(VOCABULARY, (100_000,)).to(torch.uint8)
    text = data.Text(tokens, tokens, "random")
    steps = STEPS[width]
    recipe = Recipe(steps, BATCH, lr=1e-3, records=steps // 5, precision=precision)
    history = fit(models.build(gpt_shape(width)), text, recipe)
    first = history.step.index(5)
    return reached(history.seconds[-1] - history.seconds[first], STEPS[width] - 5, width, precision)


def reached(seconds, steps, width, precision="float32") -> dict:
    """Tokens/s, and the share of this process's matrix FLOP/s in that format."""
    import torch

    flops = gpt_shape(width).matmul_flops(BATCH * CONTEXT, CONTEXT, training=True) * steps
    a, times = torch.randn(512, 512).to(getattr(torch, precision)), []
    for _ in range(30):
        begin = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begin)
    peak = 2 * 512**3 / median(times)
    return {"tokens_per_s": BATCH * CONTEXT * steps / seconds, "share": flops / seconds / peak}


def gpt_shape(width):
    """The shape of the GPT; counting it needs no torch."""
    from modelscale import count

    return count.Transformer(LAYERS, width, HEADS, VOCABULARY, CONTEXT)


def plain_gpt(width):
    """A GPT from torch's own modules, as in a first script."""
    from torch import nn
    from torch.nn import functional as F

    class PlainBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            heads = [
                part.view(*x.shape[:2], HEADS, -1).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).split(width, 2)
            ]
            mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).contiguous().view(x.shape))
            return x + self.mlp(self.norm2(x))

    class PlainGPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, width)
            self.position = nn.Embedding(CONTEXT, width)
            self.blocks = nn.Sequential(*[PlainBlock() for _ in range(LAYERS)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            x = self.embed(x) + self.position.weight[: x.shape[1]]
            return self.head(self.norm(self.blocks(x)))

    return PlainGPT()


if __name__ == "__main__":
    from modelscale.dial import settle

    settle()
    main()
