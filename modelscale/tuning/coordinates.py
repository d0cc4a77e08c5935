"""The coordinate check: do all activations change as much in a wide network as in a narrow one?

Source: Yang 2022 (Tensor Programs V), appendix D.1.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .. import check, models, train

PROBES = 64  # samples (or windows of a text) that the activations are looked at on
WATCHED = (nn.Linear, nn.Embedding, nn.Conv1d, models.Attention)
LOGITS = "logits"  # how the names of attention logits end
LARGEST_SLOPE = 0.3  # in powers of the width, of a layer that passes; a forgotten rule is 0.5 or 1


@dataclass(frozen=True)
class Drift:
    """How the change of each layer's activations follows the width, and the verdict."""

    slopes: dict[str, float]  # {layer: power of the width}

    @property
    def blown_up(self) -> list[str]:
        """The layers that change more, the wider the network."""
        return [layer for layer, slope in self.slopes.items() if slope > LARGEST_SLOPE]

    @property
    def frozen(self) -> list[str]:
        """The layers that change less, the wider the network.

        Attention logits are let off: in the first steps queries and keys know nothing of each
        other yet, and q . k / Q of independent vectors shrinks like 1 / sqrt(Q) by itself.
        """
        slow = [layer for layer, slope in self.slopes.items() if slope < -LARGEST_SLOPE]
        return [layer for layer in slow if not layer.endswith(LOGITS)]

    @property
    def passed(self) -> bool:
        """Whether no layer blows up and none freezes."""
        return not self.blown_up and not self.frozen


def coordinate_check(
    make: Callable, widths: Sequence[int], data, recipe, steps: int = 4, seeds=range(3)
) -> list[dict]:
    """One row for each width, seed, layer and step: how much the layer's outputs have changed.

    `make(width, seed)` returns (model, lr_factors); lr_factors may be None. "change" is the mean of
    |output now - output before training| on the same samples, "size" the mean of |output now|.
    Attention logits count as a layer. The learning rate is `recipe.lr` from the first step on.
    """
    check.integer("widths, to compare", len(set(widths)), 2)
    recipe = replace(recipe, steps=steps, records=steps, warmup=0.0, lr_schedule="none")
    return [
        {"width": width, "seed": seed, **row}
        for width in widths
        for seed in seeds
        for row in _watched(*make(width, seed), data, recipe, seed)
    ]


def drift(table: list[dict], step: int | None = None) -> Drift:
    """The slope of log(change) over log(width) of each layer, medians of the seeds, at `step`.

    `step` defaults to the last. 0 is what muP asks for; 1 is a change that grows like the width.
    """
    steps = sorted({row["step"] for row in table} - {0})
    check.integer("steps after the first, in table", len(steps), remedy="train for one at least")
    step = check.one_of("step", steps[-1] if step is None else step, steps)
    slopes = {}
    for layer in dict.fromkeys(row["layer"] for row in table):
        found = defaultdict(list)
        for row in table:
            if (row["layer"], row["step"]) == (layer, step):
                found[row["width"]].append(row["change"])
        with np.errstate(divide="ignore"):
            x, y = np.log(list(found)), np.log([np.median(changes) for changes in found.values()])
        if np.isfinite(y).all():
            slopes[layer] = float(np.polyfit(x, y, 1)[0])
        else:  # what diverged has blown up; what did not change at all is frozen
            slopes[layer] = -np.inf if np.isneginf(y).any() else np.inf
    return Drift(slopes)


def _watched(model, lr_factors, data, recipe, seed):
    """The rows of one training run."""
    rows = []
    if hasattr(data, "batch"):  # a text
        probes, _ = data.batch(PROBES, model.shape.context, torch.Generator().manual_seed(0))
    else:
        probes = data.x_train[:PROBES]
    probes = probes.to(next(model.parameters()).device)
    start = _outputs(model, probes)

    def look(step, _):
        for layer, now in _outputs(model, probes).items():
            change, size = float((now - start[layer]).abs().mean()), float(now.abs().mean())
            rows.append({"layer": layer, "step": step, "change": change, "size": size})

    look(0, None)
    train.fit(model, data, recipe, seed, look, lr_factors=lr_factors)
    return rows


@torch.no_grad()
def _outputs(model, x) -> dict[str, torch.Tensor]:
    """{layer: its output} for a batch, in the order in which they run, caught by hooks."""
    watched = {part: name for name, part in model.named_modules() if isinstance(part, WATCHED)}
    found = {}

    def keep(part, inputs, output):
        if isinstance(part, models.Attention):
            found[f"{watched[part]}.{LOGITS}"] = part.logits(*inputs[:2])
        else:
            found[watched[part]] = output.clone()

    hooks = [part.register_forward_hook(keep) for part in watched]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found
