"""The explorer of notebook 01: a network drawn to scale, what it costs, and how well it does.

Costs are closed forms and this machine's prediction; accuracies are read off a stored sweep, on
straight lines between its points in log size.
"""

import json
import math
from pathlib import Path

import ipywidgets as w
import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from .. import count
from ..course.controls import choice
from ..course.explorer import Explorer
from ..machine import predict_step
from ..plot import seconds, si
from ..train import Recipe

AXES = ("n", "depth", "width")
BATCH_SIZE = 64
LAYERS = 18  # drawn at most: input, 16 hidden layers, output


class Sweep:
    """The stored accuracies of experiments/vertical_scaling.py, by kind of network."""

    def __init__(self, path):
        stored = json.loads(Path(path).read_text())
        self.about = {key: stored[key] for key in ("machine", "date", "seeds", "seconds")}
        self._recipe = stored["recipe"]
        self.cells = {(c["kind"], *(c[axis] for axis in AXES)): c for c in stored["cells"]}
        self.grid = [sorted({c[axis] for c in stored["cells"]}) for axis in AXES]

    def recipe(self, kind: str, n: int, depth: int, width: int) -> Recipe:
        """How the networks of a measured point were trained, its learning rate included."""
        return Recipe(**self._recipe | {"lr": self.cells[kind, n, depth, width]["lr"]})

    def runs(self, split: str, kind: str, n: int, depth: int, width: int) -> np.ndarray:
        """The accuracy of every seed at (or between) the measured points: (S,).

        `split` is "train" or "test". Outside the sweep, the nearest edge counts.
        """
        corners = [
            _neighbours(axis, x) for axis, x in zip(self.grid, (n, depth, width), strict=True)
        ]
        total = 0.0
        for a, share_a in corners[0]:
            for b, share_b in corners[1]:
                for c, share_c in corners[2]:
                    found = np.array(self.cells[kind, a, b, c][split])
                    total = total + share_a * share_b * share_c * found
        return total


def compute(sweep, machine, kind: str, n: int, depth: int, width: int) -> dict:
    """Parameters, FLOPs and bytes of a training step, its predicted seconds, and accuracies.

    The bytes are weights, gradients, AdamW's averages and what the backward pass needs.
    """
    shape = count.MLP(depth, width, residual=kind == "residual")
    return {
        "params": shape.params,
        "flops": shape.matmul_flops(BATCH_SIZE, training=True),
        "bytes": 16 * shape.params + shape.saved_bytes(BATCH_SIZE),
        "step_s": predict_step(machine, shape, BATCH_SIZE).step_s,
        "test": sweep.runs("test", kind, n, depth, width),
        "train": sweep.runs("train", kind, n, depth, width),
    }


def plot_network(ax, kind: str, depth: int, width: int):
    """`ax` with a bar for each layer, its height to scale; shortcuts drawn as arcs above."""
    bars = draw_network(ax)
    place_network(bars, kind, depth, width)
    return ax


def draw_network(ax) -> tuple:
    """The empty (bars, shortcuts) that `place_network` moves."""
    ax.set(xlim=(-1, LAYERS), ylim=(0, 160), xticks=[])
    ax.set(ylabel="neurons", xlabel="input, hidden layers, output")
    ax.grid(False)
    bars = ax.add_collection(PatchCollection([], facecolor="#0072B2", edgecolor="white"))
    (arcs,) = ax.plot([], [], "-", color="#D55E00", marker="", linewidth=1)
    return bars, arcs


def place_network(parts, kind: str, depth: int, width: int) -> None:
    """Nothing: draws this network into what `draw_network` returned."""
    bars, arcs = parts
    heights = [40, *[width] * depth, 10]
    bars.set_paths([Rectangle((i - 0.35, 0), 0.7, h) for i, h in enumerate(heights)])
    t = np.linspace(0, math.pi, 12)
    starts = range(1, depth) if kind == "residual" else ()
    x = [np.append(i + 0.5 - 0.5 * np.cos(t), np.nan) for i in starts]
    y = [np.append(width + 3 + 12 * np.sin(t), np.nan) for _ in starts]
    arcs.set_data(np.concatenate([[], *x]), np.concatenate([[], *y]))


def describe(sweep, machine, kind: str, n: int, depth: int, width: int) -> str:
    """The state in words: what the network costs and how well it does."""
    found = compute(sweep, machine, kind, n, depth, width)
    test, train = found["test"], found["train"]
    return (
        f"{kind}, {depth} x {width}, {n:,} samples: {si(found['params'])} parameters; "
        f"{si(found['flops'])}FLOP, {si(found['bytes'])}B and (predicted) "
        f"{seconds(found['step_s'])} a step. Test accuracy {test.mean():.2f} "
        f"({test.min():.2f} to {test.max():.2f}), training {train.mean():.2f}."
    )


def vertical_explorer(sweep, machine) -> Explorer:
    """Sliders for kind, depth, width and data: the network, its costs and its accuracy."""

    def setup(figure):
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        right.set(xlim=(-0.5, 1.5), ylim=(0, 1.05), xticks=(0, 1), xticklabels=("training", "test"))
        right.set(ylabel="accuracy (stored sweep)")
        right.axhline(0.1, color="0.6", linestyle=":")
        points = right.plot([], [], "o", color="#009E73")[0]
        return [*draw_network(left), points]

    def update(parts, **state):
        *network, points = parts
        place_network(network, state["kind"], state["depth"], state["width"])
        found = compute(sweep, machine, **state)
        seeds = len(found["test"])
        points.set_data([0] * seeds + [1] * seeds, [*found["train"], *found["test"]])

    deepest = sweep.grid[1][-1]
    return Explorer(
        setup,
        update,
        lambda **state: describe(sweep, machine, **state),
        figsize=(6.4, 3.0),
        kind=w.ToggleButtons(options=("plain", "residual"), description="network"),
        depth=choice("depth", range(1, deepest + 1), 4, unit="layers"),
        width=choice("width", [8, 12, 16, 24, 32, 48, 64, 96, 128], 32, unit="neurons"),
        n=choice("data", [500, 1000, 2000, 4000, 8000, 16000, 32000], 2000, unit="samples"),
    )


def _neighbours(axis, x):
    """[(point of the axis, its share)] of the one or two measured points around x."""
    x = min(max(x, axis[0]), axis[-1])
    if x in axis:
        return [(x, 1.0)]
    high = next(point for point in axis if point > x)
    low = axis[axis.index(high) - 1]
    share = math.log(x / low) / math.log(high / low)
    return [(low, 1 - share), (high, share)]
