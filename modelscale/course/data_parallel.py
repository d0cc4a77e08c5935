"""What belongs to 10_data_parallel: its explorer, its checkers, the colleagues of its lab."""

import math

import ipywidgets as w
import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional as F

from .. import count, models
from ..count.operations import UPDATE, training_step
from ..machine import predict_step
from ..parallel import data
from ..plot import seconds
from .checkers import exercise
from .controls import choice
from .explorer import Explorer

NETWORKS = {
    "convolutions": count.ConvNet(3, 48, n_stride=1),
    "MLP 3 x 128": count.MLP(3, 128),
    "MLP 4 x 1024": count.MLP(4, 1024),
    "GPT 4 x 256": count.Transformer(4, 256, 4, 256, 128),
}
WORKERS = tuple(2**k for k in range(11))
BATCHES = tuple(2**k for k in range(4, 15))
BANDWIDTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # GB/s
SCALINGS = ("fixed batch", "batch per worker")
ORDERS = ("overlap", "in turn")
LEAST = 1.05  # more workers that bring less are not worth having
SUSPECTS = ("a", "b", "c")
FAULTS = {
    "average": "gradients are not averaged",
    "means": "a mean of means is taken over unequal shares",
    "order": "the sampler is not reseeded",
}
_MADE = dict(zip(SUSPECTS, ("order", "average", "means"), strict=True))


def data_parallel_explorer(machine, latency_s: float = 1e-4) -> Explorer:
    """Where the time of a data-parallel step goes, worker by worker.

    Computing is predicted for `machine`, once for each worker; messages take `latency_s` and the
    time of a bandwidth to choose. Every worker is taken to be as fast as one alone here.
    """

    def setup(figure):
        left, right = figure.subplots(1, 2)
        left.set(xlabel="workers", ylabel="step time (ms)", xscale="log", yscale="log")
        right.set(xlabel="workers", ylabel="speed-up", xscale="log", yscale="log")
        right.plot(WORKERS, WORKERS, ":", marker="", color="0.4", label="ideal")
        art = {
            "whole": left.plot(WORKERS, WORKERS, "s--", color="#D55E00", label="whole step")[0],
            "computing": left.plot(WORKERS, WORKERS, "o-", color="#0072B2", label="computing")[0],
            "here": left.axvline(1, linestyle=":", marker="", color="0.4"),
            "line": right.plot(WORKERS, WORKERS, "o-", color="#0072B2", label="predicted")[0],
            "point": right.plot([1], [1], "o", markersize=10, fillstyle="none", color="black")[0],
            "best": right.plot([1], [1], "*", markersize=11, color="#D55E00", label="pays up to")[
                0
            ],
        }
        left.legend(loc="best")
        right.legend(loc="upper left")
        return art

    def update(art, workers, **place):
        found = _step_times(machine, latency_s, **place)
        for name in ("whole", "computing"):
            art[name].set_ydata(1e3 * found[name])
        ms = np.log10([1e3 * found["computing"].min(), 1e3 * found["whole"].max()])
        art["whole"].axes.set_ylim(10 ** np.floor(ms[0]), 10 ** np.ceil(ms[1]))
        art["here"].set_xdata([workers] * 2)
        at, best = (WORKERS.index(n) for n in (workers, found["best"]))
        art["line"].set_ydata(found["speedup"])
        art["point"].set_data([workers], [found["speedup"][at]])
        all_pay = found["best"] == WORKERS[-1]
        art["best"].set_data([found["best"]], [math.nan if all_pay else found["speedup"][best]])

    def describe(workers, **place):
        found, at = _step_times(machine, latency_s, **place), WORKERS.index(workers)
        computing, whole = found["computing"][at], found["whole"][at]
        gain, best = found["speedup"][at], found["best"]
        pay = f"stop paying at {best}" if best < WORKERS[-1] else f"pay up to the last, {best}"
        return (
            f"{place['network']}, {place['scaling']} of {place['batch']}, {place['order']}, "
            f"{place['bandwidth']:g} GB/s, {workers} worker{'s' if workers > 1 else ''}: "
            f"{seconds(computing)} computing, {seconds(whole - computing)} waiting; {gain:.2f} "
            f"times one worker, efficiency {gain / workers:.0%}. More workers {pay}."
        )

    controls = {
        "network": w.ToggleButtons(options=tuple(NETWORKS), value="MLP 4 x 1024"),
        "scaling": w.ToggleButtons(options=SCALINGS, description="work"),
        "order": w.ToggleButtons(options=ORDERS, description="messages"),
        "workers": choice("workers", WORKERS, 8),
        "batch": choice("batch", BATCHES, 2048, unit="samples"),
        "bandwidth": choice("bandwidth", BANDWIDTHS, 1.0, unit="GB/s", format="{:g}".format),
    }
    return Explorer(setup, update, describe, figsize=(6.4, 3.0), **controls)


def _step_times(machine, latency_s, network, scaling, order, batch, bandwidth):
    """By WORKERS: seconds "computing" and of the "whole" step, "speedup"; and the "best" of them.

    The best is the number of workers from which no larger one is 5 % faster. Messages can hide
    behind the backward pass alone: clipping and the optimizer wait for them.
    """
    shape, grows = NETWORKS[network], scaling == SCALINGS[1]
    shares = [batch if grows else math.ceil(batch / p) for p in WORKERS]
    alone = {b: _alone_s(machine, shape, b) for b in set(shares)}
    computing, backward = np.array([alone[b] for b in shares]).T
    sending = _ring_s(4 * shape.params, np.array(WORKERS), latency_s, bandwidth * 1e9)
    whole = computing + np.maximum(sending - backward * (order == "overlap"), 0)
    speedup = (np.array(WORKERS) if grows else 1.0) * whole[0] / whole
    pays = [max(speedup[i + 1 :]) >= LEAST * speedup[i] for i in range(len(WORKERS) - 1)]
    best = WORKERS[pays.index(False)] if False in pays else WORKERS[-1]
    return {"computing": computing, "whole": whole, "speedup": speedup, "best": best}


def _ring_s(n_bytes, ranks, latency_s, bandwidth):
    """Seconds of a ring all-reduce: 2 (p - 1) steps, one after another, of n / p bytes each."""
    return 2 * (ranks - 1) * (latency_s + n_bytes / ranks / bandwidth)


def _alone_s(machine, shape, batch):
    """(seconds of a worker's step, seconds of its backward pass: two thirds of both passes)."""
    passes = [op for op in training_step(shape, batch) if op.name not in UPDATE]
    passes_s = sum(
        max(machine.operation_time_s(op)) + op.calls * machine.operation_s for op in passes
    )
    return predict_step(machine, shape, batch).step_s, 2 / 3 * passes_s


def _best_ranks(compute_s, n_bytes, latency_s, bandwidth, most):
    def step_s(ranks):
        return compute_s / ranks + _ring_s(n_bytes, ranks, latency_s, bandwidth)

    return min(range(1, most + 1), key=step_s)


check_best_ranks = exercise(
    "the time of p ranks is compute_s / p, and 2 (p - 1) messages one after another, each of which "
    "takes latency_s and the time of n_bytes / p; try every p.",
    name="best_ranks",
    cases=[
        (0.001, 4e6, 5e-5, 1e9, 64),
        (0.01, 1e6, 1e-4, 1e9, 64),
        (1, 4e8, 1e-4, 1e10, 1024),
        (0.2, 4e5, 1e-5, 1e10, 16),
    ],
    reference=_best_ranks,
    tolerance=0,
)

check_loss_scale = exercise(
    "a mean loss has been divided by n_mine, and the average over ranks divides by ranks; it ought "
    "to be divided by n_all, once.",
    name="loss_scale",
    cases=[(16, 32, 2), (11, 32, 3), (1, 6, 4), (5, 5, 1)],
    reference=lambda n_mine, n_all, ranks: n_mine * ranks / n_all,
)


@exercise("which line of the table is unlike the others', and what would make it so?")
def check_suspects(answer):
    """Whether `answer` gives each suspect its fault, one of FAULTS: {"a": "order", ...}."""
    if not isinstance(answer, dict) or set(answer) != set(SUSPECTS):
        return f"{answer!r} must be a dictionary that gives a, b and c each one fault."
    if unknown := set(map(str, answer.values())) - set(FAULTS):
        return f"{sorted(unknown)} are not among the faults {sorted(FAULTS)}."
    right = sum(answer[letter] == _MADE[letter] for letter in SUSPECTS)
    return None if right == len(SUSPECTS) else f"{right} of {len(SUSPECTS)} are right."


def symptoms(suspect: str, shape, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> dict:
    """What two epochs of a suspect look like on this rank: run it by `parallel.run`.

    "apart": the largest difference between two ranks' weights afterwards; "repeated": the share of
    the second epoch's steps that use the samples of the first's; "even" and "uneven": the largest
    difference of its first gradient from the right one, on a whole batch and on the last of an
    epoch.
    """
    fault, model = _MADE[suspect], models.build(shape, seed=0)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    numbers = (0, 0) if fault == "order" else (0, 1)
    epochs = [list(data.batches(len(y), batch_size, rank, ranks, n)) for n in numbers]
    first, last = epochs[0][0], epochs[0][-1]
    wrong = [_gradient(model, x, y, step, fault) for step in (first, last)]
    right = [_gradient(model, x, y, step, None) for step in (first, last)]
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for step in epochs[0] + epochs[1]:
        _gradient(model, x, y, step, fault)
        optimizer.step()
    weights = [None] * ranks
    dist.all_gather_object(weights, torch.cat([p.detach().flatten() for p in model.parameters()]))
    same = [torch.equal(a[0], b[0]) for a, b in zip(*epochs, strict=True)]
    even, uneven = (float((a - b).abs().max()) for a, b in zip(wrong, right, strict=True))
    apart = float((weights[0] - weights[1]).abs().max())
    return {"apart": apart, "repeated": sum(same) / len(same), "even": even, "uneven": uneven}


def _gradient(model, x, y, step, fault):
    """The gradient of one step as a flat copy; `fault` may spoil it. It stays in the model."""
    rows, n_all = step
    losses = F.cross_entropy(model(x[rows]), y[rows], reduction="none")
    model.zero_grad()
    (losses.sum() / (len(rows) if fault == "means" else n_all / dist.get_world_size())).backward()
    if fault != "average":
        data.average_gradients(model)
    return torch.cat([p.grad.flatten() for p in model.parameters()])
