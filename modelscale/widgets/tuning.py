"""The explorer of notebook 03: loss over learning rate and width, standard against muP.

Every number is read off a stored sweep, at the widths and rates that were trained.
Legend: R learning rates, S seeds, W widths.
"""

import json
import math
from pathlib import Path

import ipywidgets as w
import numpy as np

from ..course.controls import choice
from ..course.explorer import Explorer

KINDS = {"standard": "#0072B2", "mup": "#D55E00"}  # parametrisation: colour
NAMES = {"standard": "standard", "mup": "muP"}
TOP, BOTTOM = 2.4, 1.0  # of the loss axis, in nats; guessing costs ln 10 = 2.30


class Sweep:
    """The stored losses of experiments/tuning_mlp.py or tuning_gpt.py, in nats."""

    def __init__(self, path):
        stored = json.loads(Path(path).read_text())
        self.about = {key: stored[key] for key in ("machine", "date", "seeds", "seconds")}
        self.base, self.recipe, self._cells = stored["base"], stored["recipe"], {}
        for cell in stored["cells"]:
            key = cell.get("optimizer", "adamw"), cell["kind"], cell["width"]
            self._cells.setdefault(key, {})[cell["lr"]] = cell
        self.optimizers = list(dict.fromkeys(key[0] for key in self._cells))
        self.widths = sorted({key[2] for key in self._cells})

    def lrs(self, optimizer: str, kind: str, width: int) -> list[float]:
        """The learning rates that were tried, rising."""
        return sorted(self._cells[optimizer, kind, width])

    def runs(self, optimizer: str, kind: str, width: int, split: str = "loss") -> np.ndarray:
        """The loss of every seed at every rate; inf where it diverged. Shapes: -> (S, R).

        `split` is "loss" (training, mean of the last tenth of the steps) or "test_loss".
        """
        cells = self._cells[optimizer, kind, width]
        rows = [cells[lr][split] for lr in sorted(cells)]
        return np.array([[math.inf if x is None else x for x in row] for row in rows]).T


def compute(sweep, optimizer: str, kind: str, width: int, lr: float) -> dict:
    """Medians of the seeds, in nats: "loss" here, "best" at this width, "at_best_lr" its rate.

    "base_lr" is the rate that is best at the narrowest width, and "base_cost" what it costs to use
    it here: the loss there minus "best".
    """
    lrs = sweep.lrs(optimizer, kind, width)
    losses = np.median(sweep.runs(optimizer, kind, width), 0)  # (R,)
    narrow = np.median(sweep.runs(optimizer, kind, sweep.widths[0]), 0)
    base_lr = sweep.lrs(optimizer, kind, sweep.widths[0])[int(narrow.argmin())]
    best = int(losses.argmin())
    return {
        "loss": float(losses[lrs.index(lr)]),
        "best": float(losses[best]),
        "at_best_lr": lrs[best],
        "base_lr": base_lr,
        "base_cost": float(losses[lrs.index(base_lr)] - losses[best]),
    }


def plot_rates(ax, sweep, optimizer: str, width: int) -> dict:
    """What moves in `ax`, by parametrisation: its (line, band, star at the best rate)."""
    parts = {}
    for kind, style in zip(KINDS, ("-o", "--s"), strict=True):
        (line,) = ax.plot([], [], style, color=KINDS[kind], label=NAMES[kind])
        band = ax.fill_between([], [], color=KINDS[kind], alpha=0.2, linewidth=0)
        (star,) = ax.plot([], [], "*", color=KINDS[kind], markersize=11)
        parts[kind] = line, band, star
    ax.set_xscale("log", base=2)
    ax.set(xlabel="learning rate", ylabel="training loss (nats)", ylim=(BOTTOM, TOP))
    lrs = sweep.lrs(optimizer, "standard", width)
    ax.set_xlim(lrs[0] / 1.3, lrs[-1] * 1.3)
    ax.legend(loc="upper left")
    place_rates(parts, sweep, optimizer, width)
    return parts


def place_rates(parts: dict, sweep, optimizer: str, width: int) -> None:
    """Nothing: draws this width into what `plot_rates` returned."""
    for kind, (line, band, star) in parts.items():
        lrs, runs = sweep.lrs(optimizer, kind, width), sweep.runs(optimizer, kind, width)
        runs = np.minimum(runs, 10 * TOP)  # what diverged lies above the picture
        losses = np.median(runs, 0)
        line.set_data(lrs, losses)
        band.set_data(lrs, runs.min(0), runs.max(0))
        star.set_data([lrs[losses.argmin()]], [losses.min()])


def plot_map(ax, sweep, optimizer: str, kind: str):
    """What moves in `ax`: the image of the loss by width and rate, and the line of best rates."""
    lrs, rows = sweep.lrs(optimizer, kind, sweep.widths[0]), range(len(sweep.widths))
    image = ax.imshow(np.zeros((len(rows), len(lrs))), vmin=BOTTOM, vmax=TOP, aspect="auto")
    (line,) = ax.plot(rows, rows, "-*", color="white", markersize=10)
    powers = [round(math.log2(lr)) for lr in lrs]
    ax.set_xticks(range(0, len(lrs), 3), [f"$2^{{{k}}}$" for k in powers[::3]])
    ax.set_yticks(rows, sweep.widths)
    ax.set(xlabel="learning rate", ylabel="width")
    ax.grid(False)
    place_map((image, line), sweep, optimizer, kind)
    return image, line


def place_map(parts, sweep, optimizer: str, kind: str) -> None:
    """Nothing: draws this parametrisation into what `plot_map` returned."""
    image, line = parts
    rows = [np.median(sweep.runs(optimizer, kind, width), 0) for width in sweep.widths]
    image.set_data(np.minimum(rows, TOP))
    line.set_xdata(np.argmin(rows, 1))


def describe(sweep, optimizer: str, kind: str, width: int, lr: float) -> str:
    """The state in words: the loss here, the best at this width, what the narrow rate costs."""
    found = compute(sweep, optimizer, kind, width, lr)
    return (
        f"{NAMES[kind]}, {optimizer}, width {width}, rate {_power(lr)}: {_nats(found['loss'])}. "
        f"Best at this width: {_nats(found['best'])} at {_power(found['at_best_lr'])}. The rate "
        f"tuned at width {sweep.widths[0]}, {_power(found['base_lr'])}, {_cost(found)} here."
    )


def tuning_explorer(sweep) -> Explorer:
    """Controls for optimizer, parametrisation, width and rate over a stored sweep."""
    state = {"optimizer": sweep.optimizers[0], "kind": "standard"}
    lrs = sweep.lrs(*state.values(), sweep.widths[0])

    def setup(figure):
        left, right = figure.subplots(1, 2)
        (point,) = left.plot([], [], "o", color="black", markersize=9, fillstyle="none")
        (frame,) = right.plot([], [], "s", color="#D55E00", markersize=13, fillstyle="none")
        rates = plot_rates(left, sweep, state["optimizer"], sweep.widths[0])
        return rates, plot_map(right, sweep, **state), point, frame

    def update(parts, optimizer, kind, width, lr):
        place_rates(parts[0], sweep, optimizer, width)
        place_map(parts[1], sweep, optimizer, kind)
        loss = compute(sweep, optimizer, kind, width, lr)["loss"]
        parts[2].set_data([lr], [min(loss, TOP - 0.03)])
        parts[3].set_data([lrs.index(lr)], [sweep.widths.index(width)])

    return Explorer(
        setup,
        update,
        lambda **state: describe(sweep, **state),
        figsize=(6.4, 3.0),
        optimizer=w.ToggleButtons(options=sweep.optimizers, description="optimizer"),
        kind=w.ToggleButtons(options=[(NAMES[k], k) for k in KINDS], description="weights"),
        width=choice("width", sweep.widths, sweep.widths[-1], unit="neurons"),
        lr=choice("learning rate", lrs, lrs[len(lrs) // 2], format=_power),
    )


def _power(lr):
    return f"2^{round(math.log2(lr))}"


def _cost(found):
    cost = found["base_cost"]
    return f"costs {cost:.2f} nats" if math.isfinite(cost) else "diverges"


def _nats(loss):
    return f"{loss:.2f} nats" if math.isfinite(loss) else "diverged"
