"""What a notebook moves and watches: explorers with sliders, and live training curves."""

from .controls import Choice, choice
from .explorer import Explorer
from .live import Live

__all__ = ["Choice", "Explorer", "Live", "choice"]
