"""The stored sweep behind notebook 06 on sources: which help, which hurt, and what is forgotten.

    python experiments/transfer_sources.py [--out notebooks/results/transfer_sources.json]

First the signals: pretrained on templates of fewer classes than the ladder's 40 with equally many
samples, on samples without the noise of the target, on few samples, and on few whose labels were
shuffled. Then what a network pretrained on letters still knows of them after it has learned moved
digits, by what was done to protect it. Recipes, draws and the choice of the rate are those of
transfer_ladder.py, where the signals of 40 templates, and no pretraining, stand too.
"""

import argparse
import copy
import functools
import json
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
import transfer_ladder as ladder
from torch.nn.utils import parametrize
from transfer_ladder import LRS, RANK, RECIPE, SEEDS, TUNING_SEEDS

from modelscale import count, data, models, transfer
from modelscale.dial import settle
from modelscale.files import write_whole
from modelscale.train import Recipe, evaluate, fit

SHAPE = count.ConvNet(3, 24)
SOURCES = {  # how the signals of the source are drawn, and how many if not 20,000
    "2 templates": {"k": 2},
    "5 templates": {"k": 5},
    "10 templates": {"k": 10},
    "40, no smooth noise": {"k": 40, "corr_noise": 0.0},
    "40, 1,000 signals": {"k": 40, "n": 1000},
    "40, labels shuffled": {"k": 40, "n": 1000, "shuffled": True},
}
LABELS = (1, 5, 20, 100)
WIDTH, FORGET_LABELS = 8, 20  # of the network whose memory is tested, labels a class it learns from
LR, LOW_LR = 1e-2, 1e-3
STRENGTHS = (1.0, 10.0)  # of the anchor, as weight decay
SHARES = (0.25, 0.5, 0.75)  # of the fine-tuned network in a mean of weights
OUT = Path(__file__).parents[1] / "notebooks" / "results" / "transfer_sources.json"


def main():
    """Run both parts and write their result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out, begin, cells = parser.parse_args().out, time.process_time(), []
    for source, labels, method in product(SOURCES, LABELS, ("freeze 3", "fine-tune")):
        cells.append({"source": source, "labels": labels, "method": method})
        cells[-1] |= best_of_rates(source, labels, method)
        print(cells[-1], flush=True)
    kept = forgetting()
    result = ladder.described(cells, time.process_time() - begin)
    write_whole(out, json.dumps(result | {"forgetting": kept}, indent=1) + "\n")


def best_of_rates(source, labels, method) -> dict:
    """The test accuracy of each seed, at the rate that is best on the tuning draws."""
    run = functools.partial(accuracy, source, labels, method)
    tried = [sum(run(lr, seed) for seed in TUNING_SEEDS) / len(TUNING_SEEDS) for lr in LRS]
    lr = LRS[tried.index(max(tried))]
    test = [round(run(lr, seed), 4) for seed in SEEDS]
    return {"lr": lr, "validation": [round(a, 4) for a in tried], "test": test}


def accuracy(source, labels, method, lr, seed) -> float:
    """Accuracy of one run on the target: on the test set, or on undrawn samples for tuning."""
    pool, n = ladder.task("signals"), 10 * labels
    few = pool.subset(n, seed)
    if seed in TUNING_SEEDS:
        few = ladder.held_out(pool, few, n, seed)
    recipe = replace(RECIPE, lr=lr, batch_size=min(RECIPE.batch_size, n))
    network = transfer.adapt(pretrained(source, seed), 10, seed)
    if method == "freeze 3":
        return ladder.fit_tail(network, 3, few, recipe, seed)[0]
    return fit(network, few, recipe, seed).last["accuracy"]


@functools.cache
def pretrained(source, seed) -> torch.nn.Module:
    """A network trained on this source."""
    recipe = dict(SOURCES[source])
    k, n, shuffled = recipe.pop("k"), recipe.pop("n", 20_000), recipe.pop("shuffled", False)
    task = data.signals(n, 500, seed, templates=data.random_templates(k, seed), **recipe)
    if shuffled:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        task = replace(task, y_train=task.y_train[order])
    network = models.build(replace(SHAPE, n_out=k), seed)
    fit(network, task, Recipe(steps=1000, lr=1e-2, records=1), seed)
    return network


def forgetting() -> list[dict]:
    """For each protection the accuracy on target and source, one of each for every seed."""
    found = {}
    for seed in SEEDS:
        before = ladder.pretrained("moved digits", WIDTH, seed)
        letters = data.letters(24_000, 1000, seed)
        target = ladder.task("moved digits").subset(10 * FORGET_LABELS, seed)
        for name, after in protected(before, letters, target, seed):
            network, old = after if isinstance(after, tuple) else (after, remembers(before, after))
            rows = slice(old.shape.n_out, None) if network.shape.n_out > 10 else slice(None)
            logits = network(target.x_test)[:, rows]
            right = (logits.argmax(-1) == target.y_test).float().mean()
            pair = [float(right), evaluate(old, letters.x_test, letters.y_test)[1]]
            found.setdefault(name, []).append([round(x, 4) for x in pair])
        print(seed, {name: values[-1] for name, values in found.items()}, flush=True)
    return [{"protection": name, "target_source": values} for name, values in found.items()]


def protected(before, letters, target, seed):
    """(name, network that has learned the target) for each way to do so."""
    recipe = replace(RECIPE, lr=LR)
    start = transfer.adapt(before, 10, seed)

    def tuned(network, recipe=recipe, task=target):
        network = copy.deepcopy(network)
        fit(network, task, recipe, seed)
        return network

    plain = tuned(start)
    yield "fine-tune", plain
    yield "lower rate", tuned(start, replace(recipe, lr=LOW_LR))
    for n in (1, 2, 3):
        yield f"freeze {n}", tuned(transfer.freeze(copy.deepcopy(start), n))
    yield "LoRA", transfer.merge(tuned(transfer.add_lora(start, RANK, seed=seed)))
    for strength in STRENGTHS:
        strong = replace(recipe, weight_decay=strength)
        yield f"anchor {strength:g}", released(tuned(anchored(start), strong))
    probe = transfer.freeze(copy.deepcopy(start), 3)
    after = tuned(tuned(probe).requires_grad_(True))
    yield "probe, then fine-tune", after
    for share in SHARES:
        between = mean_of_weights(tuned(probe), after, share)
        yield f"weights {share:g} of the way", between
    both = mixed(letters, target, 0.5, seed)
    rehearsed = tuned(transfer.adapt(before, both.n_classes, seed, keep=True), task=both)
    yield "rehearsal", (rehearsed, first_classes(rehearsed, letters.n_classes))


def anchored(model) -> torch.nn.Module:
    """A copy of `model` whose weight decay pulls it back to where it is now, not to zero.

    Each weight is start + offset, and the offset is what is trained: so the recipe's `weight_decay`
    is the anchor's strength. The head, new to its task, still decays to zero.
    Source: Li 2018 (Explicit inductive bias for transfer learning with CNNs), section 3, L2-SP;
    under "adamw" the pull is decoupled, as its decay is.
    """
    copied = copy.deepcopy(model)
    head = copied.get_submodule(transfer.stages(model)[-1])
    for part in [part for part in copied.modules() if part is not head]:
        for name, parameter in list(part.named_parameters(recurse=False)):
            parametrize.register_parametrization(part, name, Offset(parameter))
    return copied


class Offset(torch.nn.Module):
    """start + offset, where the start never changes."""

    def __init__(self, start):
        super().__init__()
        self.start = torch.nn.Parameter(start.detach().clone(), requires_grad=False)

    def forward(self, offset):
        return self.start + offset

    def right_inverse(self, weight):
        """The offset of a weight: torch asks for it once, and it is zero then."""
        return weight - self.start


def released(model) -> torch.nn.Module:
    """A plain copy of an anchored network, with the weights it has reached.

    Built anew, as torch's own way back would undo the anchor of every copy of `model`, too.
    """
    free = models.build(model.shape)
    with torch.no_grad():
        for name, parameter in free.named_parameters():
            part, _, last = name.rpartition(".")
            parameter.copy_(getattr(model.get_submodule(part), last))
    return free


def mean_of_weights(a, b, share) -> torch.nn.Module:
    """A network whose weights are (1 - share) of `a`'s and `share` of `b`'s.

    Source: Wortsman 2022 (Robust fine-tuning of zero-shot models), WiSE-FT, section 3.
    """
    between = copy.deepcopy(a)
    with torch.no_grad():
        for parameter, other in zip(between.parameters(), b.parameters(), strict=True):
            parameter.lerp_(other, share)
    return between


def mixed(source, target, share, seed) -> data.Dataset:
    """`target` with samples of `source` among its training samples, a `share` of all: rehearsal.

    The classes are those of the source, then those of the target, whose labels move up. The test
    set is the target's.
    Source: Robins 1995 (Catastrophic forgetting, rehearsal and pseudorehearsal).
    """
    wanted = round(share / (1 - share) * len(target.y_train))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(source.y_train), generator=generator)[:wanted]
    return replace(
        target,
        x_train=torch.cat([source.x_train[rows], target.x_train]),
        y_train=torch.cat([source.y_train[rows], target.y_train + source.n_classes]),
        y_test=target.y_test + source.n_classes,
        n_classes=source.n_classes + target.n_classes,
    )


def remembers(before, after) -> torch.nn.Module:
    """The network before, its body replaced by the one after: the old head reads the new body."""
    network, parts = copy.deepcopy(before), transfer.stages(before)[:-1]
    for name in parts:
        network.get_submodule(name).load_state_dict(after.get_submodule(name).state_dict())
    return network


def first_classes(network, n) -> torch.nn.Module:
    """A copy whose head gives the first n classes alone."""
    cut = transfer.adapt(network, n)
    with torch.no_grad():
        cut.head.weight.copy_(network.head.weight[:n])
        cut.head.bias.copy_(network.head.bias[:n])
    return cut


if __name__ == "__main__":
    settle()
    main()
