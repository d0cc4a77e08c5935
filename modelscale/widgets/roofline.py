"""The explorer of notebook 00: one operation under the roofline of this machine."""

import ipywidgets as w
import numpy as np

from ..count.operations import Operation
from ..course.controls import choice
from ..course.explorer import Explorer
from ..plot import seconds, si

KINDS = ("matrix x matrix", "matrix x vector", "addition")
SIZES = tuple(2**k for k in range(3, 13))
REASONS = {
    "computing": "computing takes longest: it is bound by arithmetic",
    "moving": "moving the numbers takes longest: it is bound by memory",
    "starting": "starting it takes longest: it is bound by overhead",
}


def compute(machine, kind: str, n: int) -> dict:
    """FLOPs, bytes, intensity (FLOP/byte), the three times in seconds and what bounds it.

    Every number is 4 bytes. Starting, computing and moving are read off `machine`.
    """
    flops, n_bytes, product = {
        "matrix x matrix": (2 * n**3, 12 * n**2, (n, n, n)),
        "matrix x vector": (2 * n**2, 4 * (n**2 + 2 * n), ()),
        "addition": (n**2, 12 * n**2, ()),
    }[kind]
    computing, moving = machine.operation_time_s(Operation(kind, n_bytes, product))
    times = {"computing": computing, "moving": moving, "starting": machine.operation_s}
    working, starting = max(computing, moving), machine.operation_s
    total = max(working, starting) if machine.overlaps else working + starting
    return {
        "flops": flops,
        "bytes": n_bytes,
        "intensity": flops / n_bytes,
        "time_s": total,
        "flops_per_s": flops / total,
        "bound": max(times, key=times.get),
    }


def plot_roofline(machine, ax, dtype="float32"):
    """`ax` with the roof of `machine`: the best matrix FLOP/s, and slopes of memory bandwidth."""
    peak = max(rate for _, rate in machine.product_flops_per_s[dtype])
    fast = max(rate for _, rate in machine.copy_bytes_per_s)
    slow = machine.copy_bytes_per_s[-1][1]
    lowest = min(compute(machine, kind, SIZES[0])["flops_per_s"] for kind in KINDS)
    x = np.logspace(-2, 3.5, 100)
    ax.plot(x, np.minimum(peak, fast * x) / 1e9, "-", marker="", label="cache")
    ax.plot(x, np.minimum(peak, slow * x) / 1e9, "--", marker="", label="main memory")
    ax.set(xscale="log", yscale="log", ylim=(lowest / 3e9, 3 * peak / 1e9))
    ax.set(xlabel="arithmetic intensity (FLOP/byte)", ylabel="GFLOP/s")
    ax.legend(loc="lower right")
    return ax


def describe(machine, kind: str, n: int) -> str:
    """The state in words: what the operation costs, how fast it runs and what bounds it."""
    found = compute(machine, kind, n)
    return (
        f"{kind}, n = {n}: {_amount(found['flops'])}FLOP, {_amount(found['bytes'])}B, "
        f"{found['intensity']:.3g} FLOP/byte. Predicted: {seconds(found['time_s'])}, "
        f"{found['flops_per_s'] / 1e9:.3g} GFLOP/s; {REASONS[found['bound']]}."
    )


def roofline_explorer(machine) -> Explorer:
    """Sliders for an operation and its size; the point shows its predicted speed on `machine`."""

    def setup(figure):
        ax = plot_roofline(machine, figure.subplots())
        return ax.plot([1], [1], "o", markersize=9, color="#009E73")[0]

    def update(point, kind, n):
        found = compute(machine, kind, n)
        point.set_data([found["intensity"]], [found["flops_per_s"] / 1e9])

    return Explorer(
        setup,
        update,
        lambda kind, n: describe(machine, kind, n),
        kind=w.ToggleButtons(options=KINDS, description="operation"),
        n=choice("n", SIZES, 256),
    )


def _amount(x):
    """`x` in SI, ready for its unit: "2.15 G", but "128 " with the space a prefix would have."""
    text = si(x)
    return text if " " in text else text + " "
