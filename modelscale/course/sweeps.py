"""Stored sweeps: cells found by what was set, and read between the points that were measured."""

import json
import math
from pathlib import Path

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from .. import check


class Sweep:
    """The cells of a JSON file under notebooks/results, found by the values of `keys`.

    `about` holds all the rest of the file: machine, date, seeds, seconds, recipe. `values[key]` are
    those that occur, sorted. A cell that lacks a key counts as having None there.

        sweep = Sweep("results/tuning_mlp.json", "kind", "width", "lr")
        sweep.runs("test_loss", kind="mup", width=64, lr=0.01)   # (S,), one a seed

    Raises: ValueError where two cells have the same values, or the file has no cells.
    """

    def __init__(self, path, *keys: str, cells: str = "cells"):
        stored = json.loads(Path(path).read_text("utf-8"))
        if not stored.get(cells):
            check.refuse("cells", cells, f"a list of {path}", f"it has {', '.join(stored)}")
        self.about = {name: part for name, part in stored.items() if name != cells}
        self.keys = keys
        self.cells = {tuple(cell.get(key) for key in keys): cell for cell in stored[cells]}
        if len(self.cells) != len(stored[cells]):
            check.refuse("keys", keys, "enough to tell all cells apart", "name another one")
        self.values = {
            key: sorted({place[i] for place in self.cells}, key=lambda v: (v is None, v))
            for i, key in enumerate(keys)
        }

    def cell(self, **place) -> dict:
        """The cell at measured values of all keys.

        Raises: ValueError where nothing was measured.
        """
        wanted = tuple(place[key] for key in self.keys)
        if wanted not in self.cells:
            near = {key: self.values[key] for key in self.keys}
            check.refuse("place", place, "measured", f"there are {near}")
        return self.cells[wanted]

    def runs(self, what: str, **place) -> np.ndarray:
        """What every seed gave at measured values; inf where it diverged. Shapes: -> (S,)."""
        return np.array([math.inf if x is None else x for x in self.cell(**place)[what]])

    def between(self, what: str, along: tuple[str, ...], **place) -> np.ndarray:
        """As `runs`, linear in the logarithm of the keys `along`; beyond an end, the end."""
        axes = [np.array(self.values[key], dtype=float) for key in along]
        fixed = {key: value for key, value in place.items() if key not in along}
        mesh = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(along))
        rows = [
            self.runs(what, **fixed, **dict(zip(along, map(int, point), strict=True)))
            for point in mesh
        ]
        table = np.array(rows).reshape(*map(len, axes), -1)
        at = [np.clip(place[key], axis[0], axis[-1]) for key, axis in zip(along, axes, strict=True)]
        return RegularGridInterpolator([np.log(axis) for axis in axes], table)(np.log(at))[0]
