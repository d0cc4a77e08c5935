"""The layers of a network that compression changes, and copies with some of them replaced."""

import copy

from torch import nn
from torch.nn.utils import parametrize

from .. import check


def weighted(model: nn.Module) -> dict[str, nn.Module]:
    """{name: layer} of the linear maps and convolutions, without a head tied to the embedding."""
    if any(parametrize.is_parametrized(part) for part in model.modules()):
        kind = "a network with plain weights, without an anchor"
        check.refuse("model", type(model).__name__, kind, "release it first")
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    found = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, kinds) and id(layer.weight) not in tied
    }
    if not found:
        kind = "a network with linear maps or convolutions of its own"
        remedy = "compress the network itself, before int8 or sparse replaced its layers"
        check.refuse("model", type(model).__name__, kind, remedy)
    return found


def linear(model: nn.Module) -> dict[str, nn.Linear]:
    """{name: layer} of the linear maps among `weighted`."""
    return {n: layer for n, layer in weighted(model).items() if isinstance(layer, nn.Linear)}


def replaced(model: nn.Module, change, names) -> nn.Module:
    """A copy of `model` in which each layer named is what `change(layer)` makes of it."""
    new = copy.deepcopy(model)
    for name in names:
        new.set_submodule(name, change(new.get_submodule(name)))
    return new
