"""Of notebook 07: its explorer, the colleague of its break-it lab, and its checkers.

All runs of a budget spend the same FLOPs, what was spent on the narrower networks included.
"""

from itertools import pairwise

import ipywidgets as w
import numpy as np

from .. import growth
from ..plot import si
from . import Explorer, Sweep, choice, exercise, letter
from .checkers import NothingYet
from .explorer import spread

KINDS = ("equal copies", "unequal copies", "fresh neurons")  # ways to grow
KEYS = ("budget_flops", "start", "kind", "seed")  # of experiments/growing_steps.py
TOP = 1.9  # of the loss axis, in nats
END = 64  # the width of every network at its end


def growing_explorer(path: str = "results/growing_steps.json") -> Explorer:
    """Controls for the first width, the way to grow and the budget: the loss as it grows."""
    sweep = Sweep(path, *KEYS, cells="runs")
    starts, budgets = sweep.values["start"], sweep.values["budget_flops"]
    return Explorer(
        lambda figure: _setup(figure, starts),
        lambda art, **state: _update(art, sweep, **state),
        lambda **state: _describe(sweep, **state),
        figsize=(6.4, 3.0),
        start=choice("first width", starts, 8, unit="neurons"),
        kind=w.ToggleButtons(options=KINDS, value="unequal copies", description="growth"),
        budget=choice("budget", budgets, budgets[0], unit="FLOPs", format=si),
    )


def colleague(small, seed: int):
    """What a colleague makes of a small network: 64 neurons a layer, and the same outputs."""
    return growth.widen(small, seed=seed, width=64)


check_colleague = letter(
    "look at the column of different neurons, and think of what the optimizer is told of them.",
    right="b",
    wrong={
        "a": "a rate that is too high would show in a loss that jumps, and this one ends low.",
        "c": "a dead neuron answers 0 to every signal, and all of these answer.",
        "d": "both networks began with a new optimizer, and ours went on learning.",
    },
)
check_carried = exercise(
    "each of c copies has only a part of the effect, so its gradient is the old one divided by c; "
    "the first average is of gradients, the second of their squares.",
    name="averages",
    cases=[(0.6, 0.9, 3), (-1.0, 4.0, 2), (0.2, 0.05, 1)],
    reference=lambda mean, square, copies: (mean / copies, square / copies**2),
)


@exercise(
    "relu(relu(x)) = relu(x), so an identity matrix with a bias of 0 changes nothing behind a "
    "ReLU; before the first ReLU, or without one, it would."
)
def check_deepened(answer):
    """Whether `answer(layers)` is a list one layer longer that computes the same.

    `layers` are pairs (weight (n_out, n_in), bias (n_out,)), with a ReLU between them.
    """
    rng = np.random.default_rng(0)
    for sizes in ((5, 7, 3), (4, 6, 6, 2)):
        layers = [(rng.normal(size=(m, n)), rng.normal(size=m)) for n, m in pairwise(sizes)]
        got = answer([(weight.copy(), bias.copy()) for weight, bias in layers])
        if got is None or got is ...:
            return NothingYet("one_deeper(layers) gives nothing back yet.")
        if len(got) != len(layers) + 1:
            return f"one_deeper of {len(layers)} layers gives {len(got)}, not {len(layers) + 1}."
        x = rng.normal(size=(50, sizes[0]))
        gap = np.abs(_outputs(got, x) - _outputs(layers, x)).max()
        if not gap < 1e-9:
            return f"the outputs of sizes {sizes} move by up to {gap:.2g}."
    return None


def _outputs(layers, x):
    """Of a network of (weight, bias) pairs with a ReLU between them."""
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ np.asarray(weight).T + bias, 0)
    weight, bias = layers[-1]
    return x @ np.asarray(weight).T + bias


def _runs(sweep, start, kind, budget):
    """What every seed stored of a run; from scratch where nothing grows."""
    kind = "from scratch" if start == END else kind
    places = ((budget, start, kind, seed) for seed in sweep.values["seed"])
    return [sweep.cell(**dict(zip(KEYS, place, strict=True))) for place in places]


def _ends(sweep, *place):
    return np.array([run["loss"][-1] for run in _runs(sweep, *place)])


def _setup(figure, starts):
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.set(xlim=(0, 102), ylim=(0.3, TOP))
    left.set(xlabel="FLOPs spent (% of the budget)", ylabel="test loss (nats)")
    art = {"grown at": left.plot([], [], ":", color="0.5", marker="")[0]}
    for name, style, colour in (("from scratch", "s--", "black"), ("grown", "o-", "#D55E00")):
        art[name] = left.plot([], [], style, color=colour, markersize=3, label=name)[0]
        art[name, "band"] = left.fill_between([], [], color=colour, alpha=0.2, linewidth=0)
    left.legend(loc="upper right")
    art["ends"] = right.plot([], [], "o", color="0.4", markersize=4)[0]
    art["frame"] = right.plot([], [], "s", color="#D55E00", markersize=13, fillstyle="none")[0]
    right.set(xlim=(-0.5, len(starts) - 0.5), ylim=(0.3, TOP))
    right.set_xticks(range(len(starts)), starts)
    right.set(xlabel="first width (neurons)", ylabel="test loss at the end")
    return art


def _update(art, sweep, start, kind, budget):
    for name, width in (("from scratch", END), ("grown", start)):
        runs = _runs(sweep, width, kind, budget)
        share = 100 * np.array(runs[0]["flops"]) / budget
        losses = np.array([run["loss"] for run in runs])
        art[name].set_data(share, np.median(losses, 0))
        art[name, "band"].set_data(share, losses.min(0), losses.max(0))
    at = np.repeat(100 * np.array(runs[0]["grown_at_flops"]) / budget, 3)
    art["grown at"].set_data(at, [0, TOP, np.nan] * (len(at) // 3))
    starts = sweep.values["start"]
    ends = np.array([_ends(sweep, s, kind, budget) for s in starts])  # (starts, seeds)
    art["ends"].set_data(np.repeat(range(len(starts)), ends.shape[1]), ends.ravel())
    here = starts.index(start)
    art["frame"].set_data([here], [np.median(ends[here])])


def _describe(sweep, start, kind, budget):
    """The widths on the way, the loss at the end, and the lead on scratch, in words."""
    ends, scratch = (_ends(sweep, s, kind, budget) for s in (start, END))
    accuracy = np.median([run["accuracy"][-1] for run in _runs(sweep, start, kind, budget)])
    gain = scratch - ends
    if start == END:
        told, verdict = f"width {start} from scratch ({kind} or others: nothing grows)", "no gain"
    else:
        told = f"width {' to '.join(str(n) for n in sweep.values['start'] if n >= start)}, {kind}"
        always = {5: "growing wins on every seed", 0: "growing loses on every seed"}
        verdict = always.get((gain > 0).sum(), "growing wins on some seeds and loses on others")
        verdict += f", by {gain.min():+.2f} to {gain.max():+.2f} nats"
    return (
        f"{told}, {si(budget)}FLOP: test loss {spread(ends)}, accuracy {accuracy:.2f}. "
        f"From scratch {spread(scratch)}: {verdict}."
    )
