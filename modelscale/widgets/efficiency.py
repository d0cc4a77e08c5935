"""The explorer of notebook 07: limits in milliseconds and megabytes, and what remains below them.

Accuracies come from a stored sweep; the seconds are those measured where the sweep ran, or here.
Legend: S seeds, V variants.
"""

import json
from pathlib import Path

import numpy as np

from .. import check
from ..compress.variants import Variant
from ..course.controls import choice
from ..course.explorer import Explorer

LIMITS_MS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
LIMITS_MB = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
FAMILIES = {  # name: its colour and marker; each holds the variants that were saved in one way
    "dense": ("black", "o"),
    "dense, trained longer": ("0.55", "o"),
    "bfloat16": ("#0072B2", "s"),
    "int8": ("#D55E00", "^"),
    "4 bits": ("#D55E00", "v"),
    "pruned, zeros stored": ("#CC79A7", "X"),
    "pruned, sparse": ("#CC79A7", "P"),
    "narrowed": ("#009E73", "D"),
    "low rank": ("#009E73", "<"),
    "distilled": ("#0072B2", "*"),
    "experts": ("black", ">"),
}
COSTS = {  # what it is called, its limits in the picture, its size in units of the sweep
    "seconds": ("milliseconds a pass", (0.01, 100), 1e-3),
    "bytes": ("megabytes stored", (0.003, 4), 1e6),
    "flops": ("MFLOPs a sample", (0.002, 2), 1e6),
}

PANELS = ("seconds", "bytes")  # of the explorer
QUANTILES = (0.1, 0.5, 0.9)  # of the rounds of a clock


class Sweep:
    """The result of experiments/efficiency.py, and the seconds of a pass of each variant.

    `passes` {batch: {name: seconds (rounds,)}} replaces the stored seconds by others, measured
    here. `variants` (V,) are the names; `accuracy` (V, S); `cost` (V,) by kind.
    Raises: ValueError where `passes` leaves a variant out.
    """

    def __init__(self, path, passes: dict | None = None):
        self.stored = json.loads(Path(path).read_text())
        self.cells = {_name(cell): cell for cell in self.stored["cells"]}
        self.variants = list(self.cells)
        self.accuracy = np.array([cell["accuracy"] for cell in self.cells.values()])
        self.machine = self.stored["clock"]["machine"] if passes is None else "this machine"
        self._seconds = {}
        for row in self.stored["passes"] if passes is None else ():
            found = row["fast"], row["median"], row["slow"]
            self._seconds.setdefault(row["batch"], {})[row["name"]] = found
        for batch, found in (passes or {}).items():
            if missing := [name for name in self.variants if name not in found]:
                raise ValueError(
                    f"passes[{batch}] has no seconds of {missing[0]!r}: it must have those of each"
                    " variant. Time them all in one latency.latency_s."
                )
            self._seconds[batch] = {n: np.quantile(found[n], QUANTILES) for n in found}
        self.batches = tuple(sorted(self._seconds))

    def seconds(self, batch: int) -> np.ndarray:
        """The seconds of a pass: a fast one, the median, and a slow one (QUANTILES): (V, 3)."""
        found = self._seconds[check.one_of("batch", batch, self.batches)]
        return np.array([found[name] for name in self.variants])

    def cost(self, kind: str, batch: int = 1) -> np.ndarray:
        """What each variant costs, (V,): "seconds" of a pass, "bytes", or "flops" of a sample.

        Of the seconds a fast one: whatever else runs on a machine can only slow a pass down.
        """
        check.one_of("kind", kind, COSTS)
        if kind == "seconds":
            return self.seconds(batch)[:, 0]
        return np.array([cell[kind] for cell in self.cells.values()], dtype=float)

    def family(self, name: str) -> str:
        """The entry of FAMILIES that a variant belongs to."""
        method, stored = self.cells[name]["method"], self.cells[name]["stored"]
        if method == "pruned":
            return "pruned, sparse" if stored == "sparse" else "pruned, zeros stored"
        if stored != "float32":
            return stored
        return {"alone": "dense", "longer": "dense, trained longer"}.get(method, method)


def frontier(cost, value) -> np.ndarray:
    """True for each that no other beats: none is as cheap and better, or cheaper and as good.

    Shapes: (V,), (V,) -> (V,).
    Taught in: 07_efficiency.
    """
    cost, value = np.asarray(cost), np.asarray(value)
    no_dearer, no_worse = cost[:, None] <= cost, value[:, None] >= value
    better = (cost[:, None] < cost) | (value[:, None] > value)
    return ~(no_dearer & no_worse & better).any(0)


def compute(sweep: Sweep, batch: int, ms: float, mb: float) -> dict:
    """Which variants stay below both limits (V,), the best of them, and those level with it.

    The best has the highest median accuracy, or is None. `level` are those that remain and are at
    least as accurate on one seed or more.
    """
    check.number("ms", ms), check.number("mb", mb)
    seconds, size = sweep.cost("seconds", batch), sweep.cost("bytes")
    remains = (seconds <= ms * 1e-3) & (size <= mb * 1e6)
    if not remains.any():
        return {"remains": remains, "best": None, "level": []}
    best = int(np.argmax(np.where(remains, np.median(sweep.accuracy, 1), -1)))
    level = remains & (sweep.accuracy >= sweep.accuracy[best]).any(1)
    level[best] = False
    return {"remains": remains, "best": best, "level": list(np.flatnonzero(level))}


def plot_costs(ax, sweep: Sweep, kind: str, batch: int = 256):
    """`ax` with accuracy against one cost; what is beaten is hollow.

    Bars span the seeds, and of the seconds the rounds, from a fast one to the median.
    """
    cost = sweep.cost(kind, batch)
    first = frontier(cost, np.median(sweep.accuracy, 1))
    place_costs(draw_costs(ax, kind), sweep, kind, batch, first)
    order = np.flatnonzero(first)[np.argsort(cost[first])]
    middle = np.median(sweep.accuracy, 1)[order]
    ax.step(cost[order] / COSTS[kind][2], middle, "-", where="post", color="0.6", marker="")
    return ax


def draw_costs(ax, kind: str) -> dict:
    """The empty marks that `place_costs` moves."""
    name, limits, _ = COSTS[kind]
    ax.set(xscale="log", xlim=limits, ylim=(0.43, 0.92), xlabel=name, ylabel="accuracy")
    ax.minorticks_off()
    thin = {"color": "0.7", "linewidth": 1, "zorder": 1}
    art = {"bars": ax.vlines([], [], [], **thin), "rounds": ax.hlines([], [], [], **thin)}
    for family, (colour, marker) in FAMILIES.items():
        style = {"linestyle": "", "marker": marker, "markersize": 6, "color": colour}
        art[family] = ax.plot([], [], label=family, **style)[0]
        art[family, "out"] = ax.plot([], [], **style, markerfacecolor="white", alpha=0.5)[0]
    return art


def place_costs(art: dict, sweep: Sweep, kind: str, batch: int, full) -> None:
    """Nothing: moves what `draw_costs` returned; the variants in `full` (V,) are not hollow."""
    x = sweep.cost(kind, batch) / COSTS[kind][2]
    low, middle, high = np.quantile(sweep.accuracy, (0, 0.5, 1), axis=1)
    art["bars"].set_segments([[(a, b), (a, c)] for a, b, c in zip(x, low, high, strict=True)])
    if kind == "seconds":
        slower = sweep.seconds(batch)[:, 1] / COSTS[kind][2]
        rounds = zip(x, slower, middle, strict=True)
        art["rounds"].set_segments([[(a, y), (b, y)] for a, b, y in rounds])
    families = np.array([sweep.family(name) for name in sweep.variants])
    for family in FAMILIES:
        for key, chosen in ((family, full), ((family, "out"), ~np.asarray(full))):
            at = chosen & (families == family)
            art[key].set_data(x[at], middle[at])


def describe(sweep: Sweep, batch: int, ms: float, mb: float) -> str:
    """The state in words: how many remain, the best, what it costs, and what is level with it."""
    found = compute(sweep, batch, ms, mb)
    seconds, size = sweep.cost("seconds", batch) * 1e3, sweep.cost("bytes") / 1e6
    asked = f"{batch} sample{'s' if batch > 1 else ''} a pass, at most {ms:g} ms and {mb:g} MB"
    if found["best"] is None:
        return (
            f"{asked}: nothing remains; the fastest takes {seconds.min():.2g} ms, the smallest "
            f"{size.min():.2g} MB."
        )
    i, remains = found["best"], int(found["remains"].sum())
    runs = sweep.accuracy[i]
    others = ", ".join(sweep.variants[j] for j in found["level"][:3]) or "none"
    more = f" and {len(found['level']) - 3} more" if len(found["level"]) > 3 else ""
    return (
        f"{asked}: {remains} of {len(sweep.variants)} remain. Best: {sweep.variants[i]}, accuracy "
        f"{np.median(runs):.2f} ({runs.min():.2f} to {runs.max():.2f}), {seconds[i]:.2g} ms, "
        f"{size[i]:.2g} MB. As good on a seed or more: {others}{more}."
    )


def efficiency_explorer(sweep: Sweep) -> Explorer:
    """Controls for the batch, milliseconds and megabytes: what remains, and the best of it."""

    def setup(figure):
        axes = figure.subplots(1, 2, sharey=True)
        art = {kind: draw_costs(ax, kind) for kind, ax in zip(PANELS, axes, strict=True)}
        axes[1].set_ylabel("")
        art["limits"] = [ax.axvline(1, color="0.3", linestyle=":", marker="") for ax in axes]
        ring = {"markersize": 13, "markerfacecolor": "none", "color": "#D55E00", "linestyle": ""}
        art["best"] = [ax.plot([], [], "o", **ring, zorder=5)[0] for ax in axes]
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return art

    middle = sweep.batches[len(sweep.batches) // 2]
    return Explorer(
        setup,
        lambda art, **state: place(art, sweep, **state),
        lambda **state: describe(sweep, **state),
        figsize=(6.8, 4.0),
        batch=choice("batch", sweep.batches, middle, unit="samples"),
        ms=choice("latency", LIMITS_MS, 1, unit="at most, ms", format="{:g}".format),
        mb=choice("memory", LIMITS_MB, 0.2, unit="at most, MB", format="{:g}".format),
    )


def place(art: dict, sweep: Sweep, batch: int, ms: float, mb: float) -> None:
    """Nothing: moves the explorer's marks, limits and the ring around the best."""
    found = compute(sweep, batch, ms, mb)
    for kind, limit, line, ring in zip(PANELS, (ms, mb), art["limits"], art["best"], strict=True):
        place_costs(art[kind], sweep, kind, batch, found["remains"])
        line.set_xdata([limit, limit])
        best = [] if found["best"] is None else [found["best"]]
        at = sweep.cost(kind, batch)[best] / COSTS[kind][2]
        ring.set_data(at, np.median(sweep.accuracy[best], 1) if best else [])


def _name(cell):
    return Variant(cell["method"], cell["size"], cell["stored"]).name
