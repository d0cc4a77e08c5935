"""Notebook 08: its checkers, and the explorer of what remains below limits of time and space.

Accuracies come from experiments/compression.py. Legend: V variants, S seeds.
"""

import copy

import numpy as np
import torch
from matplotlib.ticker import LogLocator

from .. import compress
from . import Explorer, choice, exercise, letter
from .explorer import spread

LIMITS_MS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
LIMITS_MB = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
FAST = 0.1  # the share of rounds that were faster: whatever else runs can only slow a pass down
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
LONGER = "dense, trained longer"

check_largest_rank = exercise(
    "a pair of factors has rank * (n_in + n_out) weights; it must have fewer than n_in * n_out.",
    name="largest_rank",
    cases=[(256, 256), (40, 256), (1024, 4096), (7, 5), (300, 10)],
    reference=lambda n_in, n_out: (n_in * n_out - 1) // (n_in + n_out),
)
check_culprit = letter(
    "what would be left of a row of weights whose step was set by a weight 300 times larger?",
    right="b",
    wrong={
        "a": "it answers as well as before and its rows use many of the 255 values: it is sound.",
        "c": "its rounding is in order, what is left still takes dozens of values; most of its "
        "weights are zero because they were cut. Training it on would repair it.",
    },
)
check_to_integers = exercise(
    "the largest weight falls on the largest whole number, 2**(bits - 1) - 1; divide by that step "
    "and round to the nearest.",
    name="to_integers",
    cases=[
        (np.array([0.3, -0.7, 0.26, 0.0]), 8),
        (np.array([-2.0, 0.9, 1.6]), 3),
        (np.array([0.05, 0.1, -0.02]), 4),
    ],
    reference=lambda weights, bits: list(
        np.round(weights * (2 ** (bits - 1) - 1) / np.abs(weights).max())
    ),
)
check_frontier = exercise(
    "a variant is beaten if some other is as cheap and better, or cheaper and as good; the same "
    "cost and the same accuracy beat nobody.",
    name="positions",
    cases=[
        ([1, 2, 3, 4], [0.5, 0.7, 0.6, 0.9]),
        ([4, 1, 3, 2], [0.9, 0.5, 0.9, 0.9]),
        ([2, 2, 1, 5], [0.8, 0.8, 0.4, 0.8]),
    ],
    reference=lambda costs, accuracies: np.flatnonzero(unbeaten(costs, accuracies)).tolist(),
)


def unbeaten(cost, value) -> np.ndarray:
    """True for each that no other beats: none is as cheap and better, or cheaper and as good.

    Shapes: (V,), (V,) -> (V,).
    """
    cost, value = np.asarray(cost), np.asarray(value)
    no_dearer, no_worse = cost[:, None] <= cost, value[:, None] >= value
    better = (cost[:, None] < cost) | (value[:, None] > value)
    return ~(no_dearer & no_worse & better).any(0)


@torch.no_grad()
def three_colleagues(network) -> dict:
    """The networks of the break-it lab, by letter; each is `network`, 8 bits a weight."""
    odd = copy.deepcopy(network)
    odd.layers[1].weight[7] *= 300  # a neuron that never fires, with huge weights
    odd.layers[1].bias[7] = -1e4
    odd.layers[2].weight[:, 7] = 0
    return {
        "a": compress.quantise(network, 8),
        "b": compress.quantise(odd, 8, "tensor"),
        "c": compress.quantise(compress.prune(network, 0.85), 8),
    }


def marks(ax) -> dict:
    """Empty marks of every family on `ax`, full and hollow, and bars: what `place` moves."""
    ax.set(xscale="log", ylabel="accuracy")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    art = {"bars": ax.vlines([], [], [], color="0.7", linewidth=1, zorder=1)}
    for name, (colour, marker) in FAMILIES.items():
        style = {"linestyle": "", "marker": marker, "markersize": 6, "color": colour}
        art[name] = ax.plot([], [], label=name, **style)[0]
        art[name, "out"] = ax.plot([], [], **style, markerfacecolor="white", alpha=0.5)[0]
    return art


def place(art: dict, cells: list, cost, full) -> None:
    """Put the marks of `cells` at their `cost` (V,); those that are not in `full` (V,) hollow."""
    low, middle, high = np.quantile([cell["accuracy"] for cell in cells], (0, 0.5, 1), axis=1)
    art["bars"].set_segments([[(x, a), (x, b)] for x, a, b in zip(cost, low, high, strict=True)])
    families = np.array([_family(cell) for cell in cells])
    for name in FAMILIES:
        for key, chosen in ((name, full), ((name, "out"), ~np.asarray(full))):
            at = chosen & (families == name)
            art[key].set_data(np.asarray(cost)[at], middle[at])


def compression_explorer(sweep, passes_s: dict | None = None) -> Explorer:
    """Batch, milliseconds and megabytes: what remains below the limits, and the best of it.

    `sweep` holds its cells by name; `passes_s` {batch: {name: seconds, one a round}} are seconds
    measured here, in place of the stored ones.
    """
    cells = list(sweep.cells.values())
    costs_ms = _costs_ms(cells, sweep.about["passes"], passes_s or {})
    costs_mb = np.array([cell["bytes"] for cell in cells]) / 1e6
    middle = np.median([cell["accuracy"] for cell in cells], 1)
    late = np.array([_family(cell) == LONGER for cell in cells])

    def below(batch, ms, mb, longer):
        """Who remains (V,), and the place of the best of them: one or none."""
        left_out = late & (longer == "left out")
        remains = (costs_ms[batch] <= ms) & (costs_mb <= mb) & ~left_out
        return remains, [int(np.argmax(np.where(remains, middle, -1)))] if remains.any() else []

    def update(art, batch, ms, mb, longer):
        remains, best = below(batch, ms, mb, longer)
        for i, (cost, limit) in enumerate(((costs_ms[batch], ms), (costs_mb, mb))):
            place(art["marks"][i], cells, cost, remains)
            art["limits"][i].set_xdata([limit, limit])
            art["best"][i].set_data(cost[best], middle[best])

    def describe(batch, ms, mb, longer):
        remains, best = below(batch, ms, mb, longer)
        asked = f"{batch} sample{'s' if batch > 1 else ''} a pass, at most {ms:g} ms and {mb:g} MB"
        told = _told(cells, costs_ms[batch], costs_mb, remains, *best)
        return f"{asked}, trained longer {longer}: {told}"

    batches = tuple(costs_ms)
    return Explorer(
        lambda figure: _panels(figure, [*costs_ms.values()], costs_mb),
        update,
        describe,
        figsize=(6.8, 4.0),
        batch=choice("batch", batches, batches[len(batches) // 2], unit="samples"),
        ms=choice("latency", LIMITS_MS, 1, unit="at most, ms", format="{:g}".format),
        mb=choice("memory", LIMITS_MB, 0.2, unit="at most, MB", format="{:g}".format),
        longer=choice("trained longer", ("counted in", "left out"), "counted in"),
    )


def _family(cell):
    """The entry of FAMILIES that a cell of the sweep belongs to."""
    method, stored = cell["method"], cell["stored"]
    if method == "pruned":
        return "pruned, sparse" if stored == "sparse" else "pruned, zeros stored"
    if stored != "float32":
        return stored
    return {"alone": "dense", "longer": LONGER}.get(method, method)


def _costs_ms(cells, stored, passes_s):
    """{batch: milliseconds of a pass (V,)}; those measured here go before those stored."""
    rows = {(row["batch"], row["name"]): row["fast"] for row in stored}
    for batch, found in passes_s.items():
        rows |= {(batch, name): np.quantile(s, FAST) for name, s in found.items()}
    batches = sorted({batch for batch, _ in rows})
    return {b: 1e3 * np.array([rows[b, cell["name"]] for cell in cells]) for b in batches}


def _panels(figure, costs_ms, costs_mb):
    axes = figure.subplots(1, 2, sharey=True)
    art = {"marks": [marks(ax) for ax in axes]}
    spans = [*np.ravel(costs_ms), *LIMITS_MS], [*costs_mb, *LIMITS_MB]
    for ax, name, span in zip(axes, ("milliseconds a pass", "megabytes"), spans, strict=True):
        ax.set(xlabel=name, ylim=(0.43, 0.92), xlim=(0.8 * min(span), 1.25 * max(span)))
    axes[1].set_ylabel("")
    art["limits"] = [ax.axvline(1, color="0.3", linestyle=":", marker="") for ax in axes]
    ring = {"markersize": 13, "markerfacecolor": "none", "color": "#D55E00", "linestyle": ""}
    art["best"] = [ax.plot([], [], "o", **ring, zorder=5)[0] for ax in axes]
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return art


def _told(cells, ms, mb, remains, best=None):
    """What remains, the best of it, and what is as good as that on some seed, in words."""
    if best is None:
        return (
            f"nothing remains; the fastest takes {ms.min():.2g} ms, the smallest {mb.min():.2g} MB."
        )
    runs = np.array([cell["accuracy"] for cell in cells])  # (V, S)
    level = np.flatnonzero(remains & (runs >= runs[best]).any(1))
    others = [cells[i]["name"] for i in level if i != best]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return (
        f"{remains.sum()} of {len(cells)} remain. Best: {cells[best]['name']}, accuracy "
        f"{spread(runs[best])}, {ms[best]:.2g} ms, {mb[best]:.2g} MB. As good on a seed or more: "
        f"{', '.join(others[:3]) or 'none'}{more}."
    )
