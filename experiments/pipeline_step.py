"""One training step of a GPT as a pipeline, on as many ranks as there are, beside one process.

    torchrun --nproc-per-node=4 experiments/pipeline_step.py --schedule zero_bubble

Every rank holds `chunks` stages of the network. Rank 0 prints the loss, the largest difference of a
gradient from those of one process, and the bubble, predicted and, where all ranks share a machine's
clock, measured. Each operation takes at least `unit_ms` in a stage.
"""

import os

import torch
import torch.distributed as dist
from torch.nn import functional as F

from modelscale import count, models
from modelscale.parallel.entry import main
from modelscale.parallel.pipeline import Pipeline, into_stages
from modelscale.parallel.schedule import build
from modelscale.parallel.simulate import Costs, Timeline, simulate

VOCABULARY, CONTEXT, SEQUENCES = 64, 16, 2  # sequences in a micro-batch


def step(
    schedule: str = "1f1b",
    chunks: int = 1,
    micro_batches: int = 8,
    width: int = 32,
    unit_ms: float = 20.0,
):
    """{"loss", "gradient_difference", "bubble_predicted", "bubble_measured"} of the second step."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    made = build(schedule, ranks, micro_batches, chunks)
    shape = count.Transformer(made.n_stages, width, 4, VOCABULARY, CONTEXT, tied=False)
    stages = into_stages(models.build(shape), made.n_stages)[rank::ranks]
    unit_s = unit_ms / 1e3 / chunks
    costs = Costs(unit_s, unit_s, unit_s)
    line = Pipeline(made, stages, (SEQUENCES, CONTEXT, width), loss_of, at_least=costs)
    inputs, targets = batch(micro_batches)
    for _ in range(2):  # the first step is slower
        for stage in stages:
            stage.zero_grad()
        taken = line.step(inputs, targets)
    told = [None] * ranks
    difference = gradient_difference(shape, stages, inputs, targets)
    dist.all_gather_object(told, (taken.loss, difference, taken.spans))
    measured = Timeline(tuple(spans for _, _, spans in told)).bubble
    one_clock = int(os.environ.get("LOCAL_WORLD_SIZE", ranks)) == ranks
    return {
        "loss": round(sum(loss for loss, _, _ in told), 4),
        "gradient_difference": max(far for _, far, _ in told),
        "bubble_predicted": round(simulate(made, costs).bubble, 3),
        "bubble_measured": round(measured, 3) if one_clock else None,
    }


def batch(micro_batches):
    """Random tokens and the ones that follow them, a tensor for each micro-batch."""
    rng = torch.Generator().manual_seed(0)
    text = torch.randint(VOCABULARY, (micro_batches * SEQUENCES, CONTEXT + 1), generator=rng)
    return text[:, :-1].chunk(micro_batches), text[:, 1:].chunk(micro_batches)


def loss_of(logits, targets):
    """The mean cross-entropy."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def gradient_difference(shape, stages, inputs, targets) -> float:
    """The largest difference of a gradient of this rank from that of the whole network."""
    whole = models.build(shape)
    loss_of(whole(torch.cat(inputs)), torch.cat(targets)).backward()
    wanted = dict(whole.named_parameters())
    return max(
        float((p.grad - wanted[name].grad).abs().max())
        for stage in stages
        for name, p in stage.named_parameters()
    )


if __name__ == "__main__":
    main(step)
