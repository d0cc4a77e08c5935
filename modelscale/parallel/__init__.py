"""Training on several processes: real ones, started from a notebook cell or a script.

Importing it loads no torch, so that schedules can be counted and drawn at once.
"""

from .entry import device, main, report
from .launch import run, warm_up
from .team import RankError

__all__ = ["RankError", "device", "main", "report", "run", "warm_up"]
