"""Checkers of the exercises in 08_data_parallel, and the suspects of its break-it lab."""

import torch
import torch.distributed as dist
from torch.nn import functional as F

from .. import models
from ..course.checkers import differs, exercise, nothing_yet
from ..parallel import data

SUSPECTS = ("a", "b", "c", "d")
_FAULTS = dict(zip(SUSPECTS, ("scale", "order", "means", "average"), strict=True))
NAMES = {
    "average": "gradients are not averaged",
    "order": "the sampler is not reseeded",
    "scale": "accumulated losses are not divided by the number of parts",
    "means": "the mean of means is taken over unequal shares",
}


@exercise(
    "the time of p ranks is compute_s / p, and 2 (p - 1) messages one after another, each of which "
    "takes latency_s and the time of n_bytes / p; try every p."
)
def check_best_ranks(answer):
    """Whether `answer(compute_s, n_bytes, latency_s, bandwidth, most)` makes a step shortest.

    The number of ranks from 1 to `most`, for a fixed batch that one rank computes in `compute_s`
    and a ring all-reduce of `n_bytes` afterwards.
    """
    for case in (
        (0.001, 4e6, 5e-5, 1e9, 64),
        (0.01, 1e6, 1e-4, 1e9, 64),
        (1, 4e8, 1e-4, 1e10, 1024),
        (0.2, 4e5, 1e-5, 1e10, 16),
    ):
        call = f"best_ranks({', '.join(f'{value:g}' for value in case)})"
        if wrong := differs(call, answer(*case), _best_ranks(*case), tolerance=0):
            return wrong
    return None


def _best_ranks(compute_s, n_bytes, latency_s, bandwidth, most):
    def step_s(ranks):
        message_s = latency_s + n_bytes / ranks / bandwidth
        return compute_s / ranks + 2 * (ranks - 1) * message_s

    return min(range(1, most + 1), key=step_s)


@exercise(
    "a mean loss has been divided by n_mine, and the average over ranks divides by ranks; it ought "
    "to be divided by n_all, once."
)
def check_loss_scale(answer):
    """Whether `answer(n_mine, n_all, ranks)` makes a rank's mean loss its share of the mean."""
    for n_mine, n_all, ranks in ((16, 32, 2), (11, 32, 3), (1, 6, 4), (5, 5, 1)):
        wanted = n_mine * ranks / n_all
        call = f"loss_scale({n_mine}, {n_all}, {ranks})"
        if wrong := differs(call, answer(n_mine, n_all, ranks), wanted):
            return wrong
    return None


@exercise("count.state_bytes gives the bytes; try the stages in order, and None where none fits.")
def check_smallest_stage(answer):
    """Whether `answer(n_params, ranks, memory_bytes)` is the first ZeRO stage that fits, or None.

    In mixed precision: 2 bytes of weights, 2 of gradients, 12 of optimizer states.
    """
    for n, ranks, memory in (
        (1e9, 8, 20e9),
        (7.5e9, 64, 80e9),
        (7.5e9, 64, 20e9),
        (7.5e9, 64, 16e9),
        (1e12, 64, 80e9),
    ):
        kept = [2 + 2 + 12, 2 + 2 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]
        wanted = next((stage for stage, size in enumerate(kept) if n * size <= memory), None)
        call = f"smallest_stage({n:g}, {ranks}, {memory:g})"
        got = answer(n, ranks, memory)
        if got is ...:
            return nothing_yet(call)
        if wanted is None:
            if got is not None:
                return f"{call} gives {got!r}, though no stage fits."
        elif wanted == 0 and (isinstance(got, bool) or got != 0):
            return f"{call} gives {got!r}, though it fits unsplit."
        elif wanted and (wrong := differs(call, got, wanted, tolerance=0)):
            return wrong
    return None


@exercise(
    "the difference of the two equations holds tr(S) alone; with it, either of them gives |G|^2. "
    "The batch is tr(S) / |G|^2."
)
def check_critical_batch(answer):
    """Whether `answer(small_sq, large_sq, small, large)` is the noise scale of two mean lengths."""
    for trace, gradient_sq, small, large in (
        (80.0, 2.0, 16, 32),
        (3.0, 0.5, 1, 256),
        (1e4, 0.1, 128, 1024),
    ):
        small_sq, large_sq = (gradient_sq + trace / batch for batch in (small, large))
        call = f"critical_batch({small_sq:g}, {large_sq:g}, {small}, {large})"
        got = answer(small_sq, large_sq, small, large)
        if wrong := differs(call, got, trace / gradient_sq):
            return wrong
    return None


@exercise("which line of the table is unlike the others', and what would make it so?")
def check_suspects(answer):
    """Whether `answer` gives each suspect its fault, one of NAMES: {"a": "order", ...}."""
    if not isinstance(answer, dict) or set(answer) != set(SUSPECTS):
        return f"{answer!r} must be a dictionary that gives a, b, c and d each one fault."
    if unknown := set(map(str, answer.values())) - set(NAMES):
        return f"{sorted(unknown)} are not among the faults {sorted(NAMES)}."
    right = [letter for letter in SUSPECTS if answer[letter] == _FAULTS[letter]]
    if len(right) == len(SUSPECTS):
        return None
    return f"{len(right)} of 4 are right."


def symptoms(suspect: str, shape, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> dict:
    """What training of a suspect looks like on this rank: run it on the ranks of `parallel.run`.

    "gradient": the length of its first gradient over the right one's; "apart": the largest
    difference between two ranks' weights after two epochs; "repeated": the share of the second
    epoch's steps that use the same samples as the first's; "even" and "uneven": the largest
    difference of its first gradient from one process's, on a whole batch and on the last of an
    epoch.
    """
    fault = _FAULTS[suspect]
    rank, ranks = dist.get_rank(), dist.get_world_size()
    model = models.build(shape, seed=0)
    epochs = [
        list(data.batches(len(y), batch_size, rank, ranks, 0 if fault == "order" else epoch))
        for epoch in range(2)
    ]
    first, last = epochs[0][0], epochs[0][-1]
    even, right = (_gradient(model, x, y, first, fault=f) for f in (fault, None))
    uneven, right_last = (_gradient(model, x, y, last, fault=f) for f in (fault, None))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for step in epochs[0] + epochs[1]:
        flat = _gradient(model, x, y, step, fault)
        sizes = [p.numel() for p in model.parameters()]
        for p, part in zip(model.parameters(), flat.split(sizes), strict=True):
            p.grad = part.view_as(p)
        optimizer.step()
    same = [torch.equal(a[0], b[0]) for a, b in zip(*epochs, strict=True)]
    return {
        "gradient": float(even.norm() / right.norm()),
        "apart": data.spread(model),
        "repeated": sum(same) / len(same),
        "even": float((even - right).abs().max()),
        "uneven": float((uneven - right_last).abs().max()),
    }


def _gradient(model, x, y, step, fault, parts=2):
    """The gradient of one step, in two parts, as a flat copy; `fault` may spoil it."""
    ranks, (rows, n_all) = dist.get_world_size(), step
    model.zero_grad()
    for part in rows.tensor_split(parts):
        losses = F.cross_entropy(model(x[part]), y[part], reduction="none")
        whole = len(rows) if fault == "means" else n_all / ranks
        loss = losses.sum() / whole
        (parts * loss if fault == "scale" else loss).backward()
    if fault != "average":
        data.average_gradients(model)
    return torch.cat([p.grad.flatten() for p in model.parameters()])
