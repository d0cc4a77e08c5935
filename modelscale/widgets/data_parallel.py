"""The explorer of notebook 08: where the time of a data-parallel step goes, worker by worker.

Computing is predicted for this machine, once for each worker; messages take a latency that was
measured here and a bandwidth to choose. Every worker is taken to be as fast as one alone here.
"""

import math

import ipywidgets as w
import numpy as np

from .. import count
from ..course.controls import choice
from ..course.explorer import Explorer
from ..machine import predict_step
from ..parallel.ring import Link
from ..parallel.speedup import step_time
from ..plot import seconds

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


def compute(machine, latency_s, network, scaling, order, workers, batch, bandwidth) -> dict:
    """Times by WORKERS, in seconds, and what becomes of them.

    "computing" and "waiting" (P,), "speedup" (P,): samples a second against one worker, "best":
    the workers from which no larger number is 5 % faster; "here" indexes the present ones.
    """
    shape, link = NETWORKS[network], Link(latency_s, bandwidth * 1e9)
    shares = [batch if scaling == "batch per worker" else math.ceil(batch / p) for p in WORKERS]
    alone = {b: predict_step(machine, shape, b).step_s for b in set(shares)}
    times = [
        step_time(alone[b], link.all_reduce_s(4 * shape.params, p), order == "overlap")
        for p, b in zip(WORKERS, shares, strict=True)
    ]
    work = np.array([p if scaling == "batch per worker" else 1.0 for p in WORKERS])
    whole = np.array([t.step_s for t in times])
    speedup = work * whole[0] / whole
    pays = [max(speedup[i + 1 :]) >= LEAST * speedup[i] for i in range(len(speedup) - 1)]
    return {
        "computing": np.array([t.computing_s for t in times]),
        "waiting": np.array([t.waiting_s for t in times]),
        "speedup": speedup,
        "best": WORKERS[pays.index(False)] if False in pays else WORKERS[-1],
        "here": WORKERS.index(workers),
    }


def plot_time(ax, found: dict) -> dict:
    """`ax` with the time of a step by workers, as the parts that move: see `place_time`."""
    x = range(len(WORKERS))
    ax.set_xticks(x[::2], WORKERS[::2])
    ax.set(xlabel="workers", ylabel="step time (ms)", yscale="log", ylim=(1e-2, 1e5))
    parts = {
        "computing": ax.plot(x, x, "o-", color="#0072B2", label="computing")[0],
        "waiting": ax.plot(x, x, "s--", color="#D55E00", label="waiting for messages")[0],
        "here": ax.axvline(0, linestyle=":", marker="", color="0.4"),
    }
    ax.legend(loc="upper right")
    place_time(parts, found)
    return parts


def place_time(parts: dict, found: dict) -> None:
    """Nothing: moves what `plot_time` drew; where there is no waiting at all, nothing is drawn."""
    for name in ("computing", "waiting"):
        ms = 1e3 * found[name]
        parts[name].set_ydata(np.where(ms > 0, ms, np.nan))
    parts["here"].set_xdata([found["here"]] * 2)


def plot_speedup(ax, found: dict) -> dict:
    """`ax` with the speed-up by workers beside the ideal one, as the parts that move."""
    ax.plot(WORKERS, WORKERS, ":", marker="", color="0.4", label="ideal")
    ax.set(xscale="log", yscale="log", xlim=(0.8, 1400), ylim=(0.05, 1400))
    ax.set(xlabel="workers", ylabel="speed-up")
    parts = {
        "line": ax.plot(WORKERS, WORKERS, "o-", color="#0072B2", label="predicted")[0],
        "point": ax.plot([1], [1], "o", markersize=10, fillstyle="none", color="black")[0],
        "best": ax.plot([1], [1], "*", markersize=11, color="#D55E00", label="stops paying")[0],
    }
    ax.legend(loc="upper left")
    place_speedup(parts, found)
    return parts


def place_speedup(parts: dict, found: dict) -> None:
    """Nothing: moves what `plot_speedup` drew."""
    speedup, best = found["speedup"], found["best"]
    star = [speedup[WORKERS.index(best)]] if best < WORKERS[-1] else [math.nan]  # else: all pay
    parts["line"].set_ydata(speedup)
    parts["point"].set_data([WORKERS[found["here"]]], [speedup[found["here"]]])
    parts["best"].set_data([best], star)


def describe(machine, latency_s, **state) -> str:
    """The state in words: where the time goes, what the workers bring, when more stop paying."""
    found = compute(machine, latency_s, **state)
    at, workers = found["here"], state["workers"]
    computing, waiting = found["computing"][at], found["waiting"][at]
    speedup, best = found["speedup"][at], found["best"]
    pay = f"stop paying at {best}" if best < WORKERS[-1] else f"pay up to the last, {best}"
    return (
        f"{state['network']}, {state['scaling']} of {state['batch']}, {state['order']}, "
        f"{state['bandwidth']:g} GB/s, {workers} worker{'s' if workers > 1 else ''}: "
        f"{seconds(computing)} computing, {seconds(waiting)} waiting; {speedup:.2f} times one "
        f"worker, efficiency {speedup / workers:.0%}. More workers {pay}."
    )


def data_parallel_explorer(machine, latency_s: float) -> Explorer:
    """Controls for network, batch, workers and bandwidth: where the time of a step goes."""

    def setup(figure):
        left, right = figure.subplots(1, 2)
        found = compute(machine, latency_s, *(c.value for c in controls.values()))
        return plot_time(left, found), plot_speedup(right, found)

    def update(parts, **state):
        found = compute(machine, latency_s, **state)
        place_time(parts[0], found)
        place_speedup(parts[1], found)

    controls = {
        "network": w.ToggleButtons(options=tuple(NETWORKS), description="network"),
        "scaling": w.ToggleButtons(options=SCALINGS, description="work"),
        "order": w.ToggleButtons(options=ORDERS, description="messages"),
        "workers": choice("workers", WORKERS, 2),
        "batch": choice("batch", BATCHES, 512, unit="samples"),
        "bandwidth": choice("bandwidth", BANDWIDTHS, 1.0, unit="GB/s", format="{:g}".format),
    }
    return Explorer(
        setup,
        update,
        lambda **state: describe(machine, latency_s, **state),
        figsize=(6.4, 3.0),
        **controls,
    )
