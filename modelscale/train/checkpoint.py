"""Checkpoints that survive a crash: written aside, then renamed, and the one before is kept.

The format is safetensors: it holds numbers and text only, so that reading one runs no code, and
knows its own length, so that a truncated file is noticed.
"""

import json
import os
import warnings
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch

from .. import check
from . import parameters
from .recipe import History


def save(path, model, optimizer, history, run) -> None:
    """Write weights, optimizer state and history to `path`.

    What stood there becomes `path` + ".previous".
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    # by name: groups number the parameters anew
    for name, state in parameters.taken(model, optimizer).items():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items()}
    tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    aside = Path(f"{path}.writing")
    about = {"history": json.dumps(asdict(history)), "run": json.dumps(run, default=float)}
    safetensors.torch.save_file(tensors, aside, about)
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    if Path(path).exists():
        os.replace(path, f"{path}.previous")
    os.replace(aside, path)


def resume(path, model, optimizer, run) -> History:
    """The history in the newest readable checkpoint, model and optimizer loaded; else a new one.

    A damaged file is reported by a warning, and the one before it is used. One of another network
    or another run is refused.
    """
    for candidate in (path, f"{path}.previous"):
        try:
            with safetensors.safe_open(candidate, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = file.metadata() or {}
        except FileNotFoundError:
            continue
        except safetensors.SafetensorError as error:
            damage = f"checkpoint {candidate} is damaged ({error}); trying the one before"
            warnings.warn(damage, stacklevel=2)
            continue
        _check_run(candidate, json.loads(about.get("run", "{}")), run)
        _load(candidate, model, optimizer, tensors)
        return History(**json.loads(about["history"]))
    return History()


def _check_run(path, before, run):
    for name, value in run.items():
        if name in before and value != before[name]:
            allowed = f"{before[name]!r}, as in the run that wrote path={str(path)!r}"
            check.refuse(name, value, allowed, "take another path, or delete the file")


def _load(path, model, optimizer, tensors):
    weights, state = {}, {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            weights[rest] = value
        elif kind == "optimizer":
            owner, _, key = rest.rpartition(".")
            state.setdefault(owner, {})[key] = value
    shapes = {name: value.shape for name, value in weights.items()}
    if shapes != {name: value.shape for name, value in model.state_dict().items()}:
        remedy = "this one is of another network: take that, or another path"
        check.refuse("path", str(path), "a checkpoint of this network", remedy)
    model.load_state_dict(weights)
    parameters.give(model, optimizer, state)
