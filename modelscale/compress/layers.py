"""The layers of a network that compression changes, and copies with some of them replaced."""

import copy

from torch import nn
from torch.nn.utils import parametrize


def weighted(model) -> dict[str, nn.Module]:
    """{name: layer} of the linear maps and convolutions, without a head tied to the embedding.

    Raises: ValueError if there is none.
    """
    if any(parametrize.is_parametrized(part) for part in model.modules()):
        raise ValueError(
            "model has an anchor: it must be a plain network here, as its weights are computed anew"
            " at every use. Call transfer.release(model) first."
        )
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and id(module.weight) not in tied
    }
    return _some(found, model, "a linear map or a convolution")


def linear(model) -> dict[str, nn.Linear]:
    """{name: layer} of the linear maps among `weighted`.

    Raises: ValueError if there is none.
    """
    found = {name: m for name, m in weighted(model).items() if isinstance(m, nn.Linear)}
    return _some(found, model, "a linear map")


def replaced(model, change, names):
    """A copy of `model` in which each layer named is what `change(name, layer)` makes of it."""
    new = copy.deepcopy(model)
    for name in names:
        parent, _, leaf = name.rpartition(".")
        holder = new.get_submodule(parent)
        holder._modules[leaf] = change(name, holder._modules[leaf])
    return new


def _some(found, model, kind):
    if not found:
        raise ValueError(
            f"model is a {type(model).__name__} without {kind}: it must have one of its own."
            " Compress the network itself, before int8 or sparse replaced its layers."
        )
    return found
