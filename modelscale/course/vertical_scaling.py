"""What belongs to 01_vertical_scaling: its explorer, the suspect of its lab, its checkers."""

from statistics import fmean as mean

import ipywidgets as w
from torch import nn

from .. import count
from ..machine import predict_step
from ..plot import seconds, si
from . import Explorer, choice, exercise, letter

BATCH_SIZE = 64
ALONG = {"depth": "hidden layers", "width": "neurons in each", "n": "training samples"}


def vertical_explorer(sweep, machine) -> Explorer:
    """Controls for kind, depth, width and data; accuracy along each, and what the network costs.

    `sweep` is that of experiments/vertical_scaling.py, by kind, n, depth and width.
    """

    def update(art, **place):
        for name, (train, test, seeds, point) in art.items():
            there = [sweep.cell(**place | {name: value}) for value in sweep.values[name]]
            train.set_ydata([mean(cell["train"]) for cell in there])
            test.set_ydata([mean(cell["test"]) for cell in there])
            for seed, line in enumerate(seeds):
                line.set_ydata([cell["test"][seed] for cell in there])
            point.set_data([place[name]], [mean(sweep.cell(**place)["test"])])

    return Explorer(
        lambda figure: _panels(figure, sweep),
        update,
        lambda **place: _told(machine, sweep.cell(**place), **place),
        figsize=(6.4, 3.0),
        kind=w.ToggleButtons(options=("plain", "residual"), description="network"),
        depth=choice("depth", sweep.values["depth"], 4, unit="layers"),
        width=choice("width", sweep.values["width"], 32, unit="neurons"),
        n=choice("data", sweep.values["n"], 2000, unit="samples"),
    )


def _panels(figure, sweep):
    """{control: its lines (training, test, seeds) and the point} of three panels still empty."""
    art = {}
    axes = figure.subplots(1, 3, sharey=True)
    for ax, (name, label) in zip(axes, ALONG.items(), strict=True):
        values = sweep.values[name]
        ax.set(xscale="log", xlabel=label, ylim=(0, 1.05))
        ax.set_xticks(values, [si(v).replace(" ", "") for v in values], fontsize="x-small")
        ax.minorticks_off()
        ax.axhline(0.1, color="0.6", linestyle=":", marker="", label="chance")
        (train,) = ax.plot(values, values, "--", marker="", label="training")
        seeds = ax.plot(values, [sweep.about["seeds"]] * len(values), ".", color="#D55E00")
        (test,) = ax.plot(values, values, "-", color="#D55E00", marker="", label="test")
        (point,) = ax.plot(values[0], 0, "o", markersize=9, color="#009E73", label="here")
        art[name] = train, test, seeds, point
    axes[0].set_ylabel("accuracy (stored sweep)")
    lines = [train, test, point, ax.lines[0]]
    figure.legend(handles=lines, loc="outside upper left", ncols=4, fontsize="x-small")
    return art


def _told(machine, cell, kind, depth, width, n):
    """What the network costs, and how well it does, in words."""
    shape = count.MLP(depth, width, residual=kind == "residual")
    n_bytes = 16 * shape.params + shape.saved_bytes(BATCH_SIZE)
    flops = shape.matmul_flops(BATCH_SIZE, training=True)
    step_s = predict_step(machine, shape, BATCH_SIZE).step_s
    test = cell["test"]
    return (
        f"{kind}, {depth} x {width}, {n:,} samples: {si(shape.params)} parameters; "
        f"{si(flops)}FLOP, {si(n_bytes)}B and (predicted) {seconds(step_s)} a step. "
        f"Test accuracy {mean(test):.2f} ({min(test):.2f} to {max(test):.2f}), training "
        f"{mean(cell['train']):.2f}."
    )


def suspect(depth: int) -> nn.Module:
    """The network of the colleague in the lab, `depth` hidden layers of 64 neurons."""
    shape = count.MLP(depth, 64)
    network = nn.Sequential(*map(nn.Linear, shape.sizes[:-1], shape.sizes[1:]))
    network.shape = shape
    return network


check_train_flops = exercise(
    "a matrix product costs 2 FLOPs a weight and sample; forward, once; backward, twice; "
    "but nobody needs the gradient of the data, which spares the first layer one product.",
    name="train_flops",
    cases=((1, 32, 64), (4, 128, 64), (9, 17, 5)),
    reference=lambda depth, width, batch: count.MLP(depth, width).matmul_flops(batch, True),
)
check_widest = exercise(
    "parameters grow with the width, so try widths upwards and keep the last that fits; or write "
    "them as a polynomial in the width, set it equal to the budget, and round the solution down.",
    name="widest_plain",
    cases=((1, 1_000), (1, 520), (4, 20_000), (16, 100_000)),
    reference=lambda depth, budget: max(
        width for width in range(1, 2000) if count.MLP(depth, width).params <= budget
    ),
)
check_largest_batch = exercise(
    "the state (weights, gradients and AdamW's two averages, 4 bytes each) is there once, however "
    "large the batch; whole samples share what is left, if anything is.",
    name="largest_batch",
    cases=[
        (11_594, 976, 1_000_000),
        (124_000_000, 350_000_000, 80_000_000_000),
        *((1_000, 100, memory) for memory in (17_000, 16_099, 9_000)),
    ],
    reference=lambda n, sample_bytes, memory: max(0, (memory - 16 * n) // sample_bytes),
)
check_suspect = letter(
    "look at one hidden layer: what else reaches that accuracy, and what would more layers add?",
    "c",
    {
        "a": "the loss falls and settles, as it does with a sound learning rate.",
        "b": "training accuracy is as low as test accuracy: nothing is memorised.",
        "d": "the weights of every layer change: print them before and after.",
    },
)
