"""Training tokens/s of `fit` against a plain eager PyTorch loop of the same GPT, in turn.

    python benchmarks/gpt_training.py [--rounds 7]

4 layers, 4 heads, context 64, batch 12, AdamW, clipping at 1.0, one thread. Every measurement is a
process of its own, so that what modelscale sets does not reach the plain loop. The share beside
each figure is model FLOP/s (exact matrix products) over the float32 matrix FLOP/s of one core,
measured in the same process.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

OUT = Path(__file__).resolve().parent / "results" / "gpt_training.json"
LAYERS, HEADS, CONTEXT, BATCH, VOCABULARY = 4, 4, 64, 12, 256
WIDTHS, STEPS = (128, 256), {128: 60, 256: 25}


def main():
    """Nothing: runs both loops in turn and writes tokens/s and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--loop", choices=("plain", "fit"))
    parser.add_argument("--width", type=int)
    args = parser.parse_args()
    if args.loop:
        print(json.dumps({"plain": plain_loop, "fit": our_loop}[args.loop](args.width)))
        return
    from modelscale.dial import describe_machine

    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d")}
    result |= {"rounds": args.rounds, "widths": {}}
    for width in WIDTHS:
        rounds = [(measured("plain", width), measured("fit", width)) for _ in range(args.rounds)]
        plain, ours = zip(*rounds, strict=True)
        ratios = [b["tokens_per_s"] / a["tokens_per_s"] for a, b in rounds]
        result["widths"][width] = {
            "plain_tokens_per_s": round(median(r["tokens_per_s"] for r in plain)),
            "fit_tokens_per_s": round(median(r["tokens_per_s"] for r in ours)),
            "ratio": round(median(ratios), 3),
            "ratios": [round(r, 3) for r in sorted(ratios)],
            "plain_share": round(median(r["share"] for r in plain), 3),
            "fit_share": round(median(r["share"] for r in ours), 3),
        }
        print(width, result["widths"][width], flush=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")


def measured(loop, width) -> dict:
    """What one loop reached, measured in a fresh process."""
    command = [sys.executable, __file__, "--loop", loop, "--width", str(width)]
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


def our_loop(width) -> dict:
    """`fit` on random bytes."""
    import torch

    from modelscale import data, models
    from modelscale.train import Recipe, fit

    tokens = torch.randint(VOCABULARY, (100_000,)).to(torch.uint8)
    text = data.Text(tokens, tokens, "random")
    recipe = Recipe(steps=STEPS[width], batch_size=BATCH, lr=1e-3, records=STEPS[width] // 5)
    history = fit(models.build(gpt_shape(width)), text, recipe)
    first = history.step.index(5)
    return reached(history.seconds[-1] - history.seconds[first], STEPS[width] - 5, width)


def reached(seconds, steps, width) -> dict:
    """Tokens/s, and the share of this process's matrix FLOP/s."""
    import torch

    flops = gpt_shape(width).matmul_flops(BATCH * CONTEXT, CONTEXT, training=True) * steps
    a, times = torch.randn(512, 512), []
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
    main()
