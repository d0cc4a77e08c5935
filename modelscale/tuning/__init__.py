"""Tune small, train large: muP, the coordinate check, and where the best learning rate is."""

from .coordinates import Drift, coordinate_check, drift
from .optimum import best_lr
from .parametrisation import Rule, lr_factors, mup, rules

__all__ = [
    "Drift",
    "Rule",
    "best_lr",
    "coordinate_check",
    "drift",
    "lr_factors",
    "mup",
    "rules",
]
