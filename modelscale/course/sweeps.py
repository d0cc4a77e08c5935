"""Stored sweeps, whose cells are found by what was set."""

import json
import math
from pathlib import Path

import numpy as np

from .. import check


class Sweep:
    """The cells of a JSON file under notebooks/results, found by the values of `keys`.

    `about` holds all the rest of the file: machine, date, seeds, seconds, recipe. `values[key]` are
    those that occur, sorted. A cell that lacks a key counts as having None there.

        sweep = Sweep("results/tuning_mlp.json", "kind", "width", "lr")
        sweep.runs("test_loss", kind="mup", width=64, lr=0.01)   # (S,), one a seed

    Raises: ValueError where two cells have the same values.
    """

    def __init__(self, path, *keys: str, cells: str = "cells"):
        stored = json.loads(Path(path).read_text("utf-8"))
        found = stored.pop(cells)
        self.about, self.keys = stored, keys
        self.cells = {tuple(cell.get(key) for key in keys): cell for cell in found}
        if len(self.cells) != len(found):
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
