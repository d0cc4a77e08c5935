"""What belongs to 10_data_parallel: its explorer, its checkers, the colleagues of its lab."""

import math

import ipywidgets as w
import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from .. import count, models
from ..count.operations import UPDATE, training_step
from ..machine import predict_step
from ..parallel import data
from ..plot import seconds
from . import Explorer, choice, exercise

NETWORKS = {
    "convolutions": count.ConvNet(3, 48, n_stride=1),
    "MLP 3 x 128": count.MLP(3, 128),
    "MLP 4 x 1024": count.MLP(4, 1024),
    "GPT 4 x 256": count.Transformer(4, 256, 4, 256, 128),
}
WORKERS = tuple(2**k for k in range(11))
BANDWIDTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # GB/s
SCALINGS = ("fixed batch", "batch per worker")
LEAST = 1.05  # more workers that bring less are not worth having
FAULTS = {
    "average": "gradients are not averaged",
    "means": "a mean of means is taken over unequal shares",
    "order": "the sampler is not reseeded",
}
_MADE = {"a": "order", "b": "average", "c": "means"}
SUSPECTS = tuple(_MADE)


def data_parallel_explorer(machine, latency_s: float = 1e-4) -> Explorer:
    """Where the time of a data-parallel step goes, worker by worker.

    Computing is predicted for `machine`, once for each worker; messages take `latency_s` and the
    time of a bandwidth to choose. Every worker is taken to be as fast as one alone here.
    """

    def update(art, workers, **place):
        found = _step_times(machine, latency_s, **place)
        for name in ("whole", "computing"):
            art[name].set_ydata(1e3 * found[name])
        low, high = np.log10([1e3 * found["computing"].min(), 1e3 * found["whole"].max()])
        art["whole"].axes.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
        art["here"].set_xdata([workers] * 2)
        art["line"].set_ydata(found["speedup"])
        art["point"].set_data([workers], [found["speedup"][WORKERS.index(workers)]])
        best = [found["best"]] if found["best"] < WORKERS[-1] else []  # else all are worth it
        art["best"].set_data(best, [found["speedup"][WORKERS.index(n)] for n in best])

    def describe(workers, network, scaling, batch, order, bandwidth):
        found = _step_times(machine, latency_s, network, scaling, order, batch, bandwidth)
        computing, whole, gain = (
            found[name][WORKERS.index(workers)] for name in ("computing", "whole", "speedup")
        )
        pay = "stop paying at" if found["best"] < WORKERS[-1] else "pay up to the last,"
        return (
            f"{network}, {scaling} of {batch}, {order}, {bandwidth:g} GB/s, {workers} "
            f"worker{'s' if workers > 1 else ''}: {seconds(computing)} computing, "
            f"{seconds(whole - computing)} waiting; {gain:.2f} times one worker, efficiency "
            f"{gain / workers:.0%}. More workers {pay} {found['best']}."
        )

    return Explorer(
        _setup,
        update,
        describe,
        figsize=(6.4, 3.0),
        network=w.ToggleButtons(options=tuple(NETWORKS), value="MLP 4 x 1024"),
        scaling=w.ToggleButtons(options=SCALINGS, description="work"),
        order=w.ToggleButtons(options=("overlap", "in turn"), description="messages"),
        workers=choice("workers", WORKERS, 8),
        batch=choice("batch", [2**k for k in range(4, 15)], 2048, unit="samples"),
        bandwidth=choice("bandwidth", BANDWIDTHS, 1.0, unit="GB/s", format="{:g}".format),
    )


def _setup(figure):
    left, right = figure.subplots(1, 2)
    for ax, name in ((left, "step time (ms)"), (right, "speed-up")):
        ax.set(xlabel="workers", ylabel=name, xscale="log", yscale="log")
    right.plot(WORKERS, WORKERS, ":", marker="", color="0.4", label="ideal")
    art, blue, red = {}, {"color": "#0072B2"}, {"color": "#D55E00"}
    (art["whole"],) = left.plot(WORKERS, WORKERS, "s--", label="whole step", **red)
    (art["computing"],) = left.plot(WORKERS, WORKERS, "o-", label="computing", **blue)
    art["here"] = left.axvline(1, linestyle=":", marker="", color="0.4")
    (art["line"],) = right.plot(WORKERS, WORKERS, "o-", label="predicted", **blue)
    (art["point"],) = right.plot([], [], "o", markersize=10, fillstyle="none", color="black")
    (art["best"],) = right.plot([], [], "*", markersize=11, label="pays up to", **red)
    left.legend(loc="best")
    right.legend(loc="upper left")
    return art


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
        *((1e-3, 4e6, 5e-5, 1e9, 64), (0.01, 1e6, 1e-4, 1e9, 64)),
        *((1, 4e8, 1e-4, 1e10, 1024), (0.2, 4e5, 1e-5, 1e10, 16)),
    ],
    reference=_best_ranks,
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
    """What is wrong with `answer`, each suspect's fault of FAULTS: {"a": "order", ...}."""
    if unknown := {*map(str, answer.values())} - set(FAULTS):
        return f"{sorted(unknown)} are not among the faults {sorted(FAULTS)}."
    right = sum(answer[suspect] == fault for suspect, fault in _MADE.items())
    return None if right == len(_MADE) else f"{right} of {len(_MADE)} are right."


def symptoms(suspect: str, shape, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> dict:
    """What two epochs of a suspect look like on this rank: run it by `parallel.run`.

    "apart": the largest difference between two ranks' weights afterwards; "repeated": the share of
    the second epoch's steps that use the samples of the first's; "even" and "uneven": the largest
    difference of its first gradient from the right one, on a whole batch and on the last of an
    epoch.
    """
    fault, model = _MADE[suspect], models.build(shape, seed=0)
    shares = dist.get_rank(), dist.get_world_size()
    numbers = (0, 0) if fault == "order" else (0, 1)
    epochs = [list(data.batches(len(y), batch_size, *shares, n)) for n in numbers]
    gaps = [
        _gradient(model, x, y, step, fault) - _gradient(model, x, y, step, None)
        for step in (epochs[0][0], epochs[0][-1])
    ]
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for step in epochs[0] + epochs[1]:
        _gradient(model, x, y, step, fault)
        optimizer.step()
    weights = [None] * shares[1]
    dist.all_gather_object(weights, parameters_to_vector(model.parameters()).detach())
    same = [torch.equal(a[0], b[0]) for a, b in zip(*epochs, strict=True)]
    even, uneven = (float(gap.abs().max()) for gap in gaps)
    apart = float((weights[0] - weights[1]).abs().max())
    return {"apart": apart, "repeated": sum(same) / len(same), "even": even, "uneven": uneven}


def _gradient(model, x, y, step, fault):
    """The gradient of one step as a flat copy; `fault` may spoil it. It stays in the model."""
    rows, n_all = step
    losses = F.cross_entropy(model(x[rows]), y[rows], reduction="sum")
    model.zero_grad()
    (losses / (len(rows) if fault == "means" else n_all / dist.get_world_size())).backward()
    if fault != "average":
        data.average_gradients(model)
    return parameters_to_vector(p.grad for p in model.parameters())
