"""Training: `fit` for one network, `fit_many` for many small ones at once."""

from .loop import fit
from .many import fit_many
from .recipe import History, Recipe
from .scoring import evaluate

__all__ = ["History", "Recipe", "evaluate", "fit", "fit_many"]
