"""Trains a GPT on text, the batch shared between ranks: on one machine or many, CPUs or GPUs.

On one machine with two ranks, then on two machines (the same line on both, with the first one's
name; `-m modelscale.parallel PACKAGE.MODULE:FUNCTION` in place of the file runs any function):

    torchrun --nproc-per-node=2 experiments/train.py --steps 200
    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29400 \\
        experiments/train.py --width 1024 --layers 24 --batch_size 512 --precision bfloat16

`parallel.run(train, ranks=2)` runs the same function from a notebook. Any number of ranks that
divides the batch gives the same losses, but for rounding.
"""

import time

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from modelscale import check, count, data, models, parallel


def train(
    steps: int = 200,
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    context: int = 64,
    batch_size: int = 16,
    lr: float = 1e-3,
    precision: str = "float32",
    seed: int = 0,
) -> dict:
    """The loss of the last step, tokens/s of all ranks, and their number; the same on every rank.

    Raises: ValueError for a batch that the ranks cannot share equally.
    """
    rank, ranks, device = dist.get_rank(), dist.get_world_size(), parallel.device()
    check.divides("ranks", ranks, "batch_size", batch_size, "every rank takes an equal share")
    check.one_of("precision", precision, ("float32", "bfloat16"))
    shape = count.Transformer(layers, width, heads, 256, context)
    model = DistributedDataParallel(models.build(shape, seed).to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
    text, generator = data.text(), torch.Generator().manual_seed(seed)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    begin = time.perf_counter()
    for step in range(check.integer("steps", steps)):
        x, y = text.batch(batch_size, context, generator)  # drawn whole on every rank
        x, y = x[rank::ranks].to(device), y[rank::ranks].to(device)
        with autocast:
            loss = F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten())
        optimizer.zero_grad()
        loss.backward()  # and the mean of the gradients, which are then the same on every rank
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        parallel.report(step + 1, steps, loss=loss)
    dist.all_reduce(loss := loss.detach())
    tokens_per_s = steps * batch_size * context / (time.perf_counter() - begin)
    return {"loss": loss.item() / ranks, "tokens_per_s": round(tokens_per_s), "ranks": ranks}


if __name__ == "__main__":
    parallel.main(train)
