"""Training throughput of the GPT on one GPU: tokens/s and MFU of `fit`, by format and compilation.

    python benchmarks/gpu_training.py [--only small wide] [--rounds 3]

Each run is a process of its own; the steps in which kernels are compiled are not timed. MFU is
what the training FLOPs a token (Chowdhery 2022) take of the published dense bfloat16 peak of the
GPU; beside it stands the share of the matrix FLOP/s measured in the same
process and format, on products of 8,192. Results are kept by machine.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from modelscale import count
from modelscale.files import write_whole

OUT = Path(__file__).resolve().parent / "results" / "gpu_training.json"
CASES = {  # layers, width, heads, tokens, context; sequences a batch
    "small": (count.Transformer(12, 768, 12, 256, 1024), 64),
    "wide": (count.Transformer(8, 2048, 16, 256, 1024), 32),
}
WAYS = {  # format, compiled, steps between two records
    "float32": ("float32", False, 4),
    "bfloat16": ("bfloat16", False, 12),
    "bfloat16, compiled": ("bfloat16", True, 12),
}
# Dense bfloat16 FLOP/s, published: H100 SXM and H200, NVIDIA's datasheets of 2023; A100, of 2020.
PEAKS = {"H100 80GB HBM3": 989e12, "H200": 989e12, "A100": 312e12}


def main():
    """Run every case in every way and write what it reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(reached(*args.one, args.rounds)))
        return
    from modelscale.dial import describe_machine

    machines = json.loads(args.out.read_text()) if args.out.exists() else {}
    result = machines.setdefault(describe_machine(), {})
    result["date"] = time.strftime("%Y-%m-%d")
    for case in args.only:
        for way in WAYS:
            result.setdefault(case, {})[way] = row = measured(case, way, args.rounds)
            print(case, way, row, flush=True)
            write_whole(args.out, json.dumps(machines, indent=1) + "\n")


def measured(case, way, rounds) -> dict:
    """What one way of training reached, measured in a fresh process."""
    command = [sys.executable, __file__, "--one", case, way, "--rounds", str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def reached(case, way, rounds) -> dict:
    """Tokens/s, MFU and the share of the measured matrix FLOP/s: medians over `rounds`."""
    import torch

    from modelscale import data, machine, models
    from modelscale.train import Recipe, fit

    (shape, batch), (precision, compiled, every) = CASES[case], WAYS[way]
    recipe = Recipe(
        steps=every * (rounds + 1), batch_size=batch, lr=3e-4, records=rounds + 1,
        precision=precision,
    )  # fmt: skip
    model = models.build(shape).to("cuda")
    if compiled:
        model = torch.compile(model)
    history = fit(model, data.text(2_000_000), recipe)
    times = [b - a for a, b in zip(history.seconds, history.seconds[1:], strict=False)]
    tokens = batch * shape.context * every
    flops = shape.train_flops_per_token() * tokens
    peak = next((p for name, p in PEAKS.items() if name in torch.cuda.get_device_name()), None)
    fastest = machine.product_rate(8192, precision, "cuda", 0.3)
    return {
        "parameters": shape.params,
        "tokens_per_s": round(tokens / median(times)),
        "tokens_per_s_runs": [round(tokens / t) for t in times],
        "teraflop_per_s": round(flops / median(times) / 1e12, 1),
        "mfu": peak and round(flops / median(times) / peak, 3),
        "share_of_products": round(flops / median(times) / fastest, 3),
        "product_teraflop_per_s": round(fastest / 1e12, 1),
        "first_steps_s": round(history.seconds[0], 1),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
        "loss": [round(loss, 3) for loss in history.loss],
    }


if __name__ == "__main__":
    from modelscale.dial import settle

    settle()
    main()
