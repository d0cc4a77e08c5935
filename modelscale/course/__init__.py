"""What belongs to notebooks: guesses, claims, checkers of exercises, explorers, live training.

A notebook's own checkers and its explorer stand in the module of its name: `your_machine` and so
on. Only notebooks and tests import from here.
"""

from .checkers import Verdict, exercise, letter
from .claims import claim
from .controls import Choice, choice
from .explorer import Explorer
from .guesses import guess, measured, predict, summary
from .live import Live
from .sweeps import Sweep

__all__ = [
    "Choice",
    "Explorer",
    "Live",
    "Sweep",
    "Verdict",
    "choice",
    "claim",
    "exercise",
    "guess",
    "letter",
    "measured",
    "predict",
    "summary",
]
