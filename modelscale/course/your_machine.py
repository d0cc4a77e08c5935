"""What belongs to 00_your_machine: its explorer, the suspect of its lab, its checkers."""

import time

import ipywidgets as w
import numpy as np
import torch

from .. import plot
from ..count.operations import Operation
from . import Explorer, choice, exercise, letter

SIZES = tuple(2**k for k in range(3, 13))
COUNTS = {  # FLOPs, bytes and the shape of the product, in float32
    "matrix x matrix": lambda n: (2 * n**3, 12 * n**2, (n, n, n)),
    "matrix x vector": lambda n: (2 * n**2, 4 * (n**2 + 2 * n), ()),
    "addition": lambda n: (n**2, 12 * n**2, ()),
}
REASONS = {
    "arithmetic": "computing takes longest: it is bound by arithmetic",
    "memory": "moving the numbers takes longest: it is bound by memory",
    "overhead": "starting it takes longest: it is bound by overhead",
}


def roof(ax, machine, dtype="float32") -> None:
    """Draw the roof of `machine`: its best matrix FLOP/s, and slopes of memory bandwidth."""
    peak = max(rate for _, rate in machine.product_flops_per_s[dtype])
    rates = [rate for _, rate in machine.copy_bytes_per_s]
    x = np.logspace(-1.5, 3, 100)
    for label, line, rate in (("cache", "-", max(rates)), ("main memory", "--", rates[-1])):
        ax.plot(x, np.minimum(peak, rate * x) / 1e9, line, marker="", label=label)
    ax.set(xscale="log", yscale="log", ylabel="GFLOP/s")
    ax.set(xlabel="arithmetic intensity (FLOP/byte)")


def roofline_explorer(machine) -> Explorer:
    """Controls for an operation and its size; the point shows its predicted speed on `machine`."""

    def setup(figure):
        ax = figure.subplots()
        roof(ax, machine)
        for kind, mark in zip(COUNTS, "os^", strict=True):
            path = [_predict(machine, kind, n)[:2] for n in SIZES]
            ax.plot(*np.array(path).T, mark, color="0.6", markersize=3, label=f"{kind}, any n")
        ax.legend(fontsize="xx-small")
        plot.annotate_kind(ax, "computed")
        return ax.plot([1], [1], "o", markersize=9, color="#009E73")[0]

    def update(point, kind, n):
        intensity, speed, *_ = _predict(machine, kind, n)
        point.set_data([intensity], [speed])

    def describe(kind, n):
        flops, n_bytes, _ = COUNTS[kind](n)
        intensity, speed, time_s, bound = _predict(machine, kind, n)
        return (
            f"{kind}, n = {n}: {_amount(flops)}FLOP, {_amount(n_bytes)}B, {intensity:.3g} "
            f"FLOP/byte. Predicted: {plot.seconds(time_s)}, {speed:.3g} GFLOP/s; {REASONS[bound]}."
        )

    operation = w.ToggleButtons(options=list(COUNTS), description="operation")
    return Explorer(setup, update, describe, kind=operation, n=choice("n", SIZES, 256))


def _predict(machine, kind, n):
    """Intensity (FLOP/byte), speed (GFLOP/s), seconds, and what bounds it in a training step."""
    flops, n_bytes, product = COUNTS[kind](n)
    computing, moving = machine.operation_time_s(Operation(kind, n_bytes, product))
    times = {"arithmetic": computing, "memory": moving, "overhead": machine.operation_s}
    working, starting = max(computing, moving), machine.operation_s
    total = max(working, starting) if machine.overlaps else working + starting
    return flops / n_bytes, flops / total / 1e9, total, max(times, key=times.get)


def _amount(x):
    """`x` in SI, ready for its unit: "2.15 G", but "128 " with the space a prefix would have."""
    return plot.si(x) if " " in plot.si(x) else plot.si(x) + " "


def suspect(n: int) -> float:
    """The GFLOP/s of an n x n product as the colleague of the lab measures them."""
    a = torch.randn(n, n)
    begin = time.perf_counter()
    a @ a
    return 2 * n**3 / (time.perf_counter() - begin) / 1e9


check_intensity = exercise(
    "2 n^3 operations; three n x n matrices moved, each number bytes_per_value bytes.",
    name="intensity",
    cases=((96, 4), (1024, 2), (300, 8)),
    reference=lambda n, bytes_per_value: 2 * n / (3 * bytes_per_value),
)
check_roofline_time = exercise(
    "computing and moving overlap, so the longer of the two counts.",
    name="roofline_time",
    cases=[(2e9, 1e6, 5e10, 1e10), (1e6, 4e8, 5e10, 1e10)]
    + [(8e9, 1e9, peak, 1e10) for peak in (5e10, 2e11)],  # above a ridge, and below another
    reference=lambda flops, n_bytes, peak, bandwidth: max(flops / peak, n_bytes / bandwidth),
)
check_ring_time = exercise(
    "a ring takes 2 (ranks - 1) steps, each with one latency and 1/ranks of the message.",
    name="ring_time",
    cases=((1e8, 2, 1e-4, 2e9), (4e6, 8, 5e-5, 1e9)),
    reference=lambda n_bytes, p, latency_s, rate: 2 * (p - 1) * (latency_s + n_bytes / p / rate),
)
check_lying_benchmark = letter(
    "compare the three calls of one size: do they agree, and which is furthest off?",
    "b",
    {
        "a": "a wrong count would be off by one factor at every size.",
        "c": "another number format would change all three calls alike.",
        "d": "a 256 x 256 matrix takes 0.26 MB: it fits, and so does every smaller one.",
    },
)
