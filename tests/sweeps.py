"""What the tests of stored sweeps share: the files, the scripts behind them, and their origin."""

import importlib.util
import json
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]


def path(name):
    """Where a sweep is stored."""
    return ROOT / "notebooks" / "results" / f"{name}.json"


def read(name):
    """What is stored of a sweep."""
    return json.loads(path(name).read_text())


def script(name):
    """The script that made a sweep, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def says_where_it_comes_from(content, seeds):
    """Whether a stored sweep tells machine, date, time and at least three seeds, its script's."""
    seconds = content["seconds"]
    return (
        content["seeds"] == list(seeds)
        and len(seeds) >= 3
        and min(seconds.values() if isinstance(seconds, dict) else [seconds]) > 0
        and "cores" in content["machine"]
        and date.fromisoformat(content["date"]).year >= 2025
    )
