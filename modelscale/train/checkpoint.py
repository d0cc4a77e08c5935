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

from . import states


def save(path, model, optimizer, history, run) -> None:
    """Nothing: writes weights, optimizer state and history to `path`; does nothing without a path.

    What stood at `path` becomes `path` + ".previous".
    """
    if path is None:
        return
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    states.take(model, optimizer, kept := {})  # by name: groups number the parameters anew
    for name, state in kept.items():
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


def resume(path, model, optimizer, history, run):
    """`history` with the records of the newest readable checkpoint; model and optimizer loaded.

    Without a path or a checkpoint nothing changes. A damaged file is reported by a warning, and the
    one before it is used.

    Raises: ValueError if the checkpoint is of another network.
    """
    for candidate in (path, f"{path}.previous") if path else ():
        try:
            tensors, about = _read(candidate)
        except FileNotFoundError:
            continue
        except safetensors.SafetensorError as error:
            warnings.warn(
                f"checkpoint {candidate} is damaged ({error}); trying the one before", stacklevel=2
            )
            continue
        _check_run(candidate, json.loads(about.get("run", "{}")), run)
        _load(candidate, model, optimizer, tensors)
        return type(history)(**{**json.loads(about["history"]), "stopped": False})
    return history


def _read(path):
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def _check_run(path, before, run):
    for name, value in run.items():
        if name in before and value != before[name]:
            raise ValueError(
                f"{name}={value!r}: it must be {before[name]!r}, as in the run that wrote"
                f" path={str(path)!r}. Take another path, or delete the file to begin anew."
            )


def _load(path, model, optimizer, tensors):
    weights = {n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")}
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if own != {name: tuple(value.shape) for name, value in weights.items()}:
        raise ValueError(
            f"path={str(path)!r}: this checkpoint is of another network. Take the network it was "
            "written with, or another path."
        )
    model.load_state_dict(weights)
    state = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            owner, _, key = name.removeprefix("optimizer.").rpartition(".")
            state.setdefault(owner, {})[key] = value
    states.give(model, optimizer, state)
