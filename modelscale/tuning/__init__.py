"""Tune small, train large: muP, the coordinate check, and where the best learning rate is."""

from .coordinates import coordinate_check, drift
from .optimum import best_lr
from .parametrisation import lr_factors, mup, rules

__all__ = ["best_lr", "coordinate_check", "drift", "lr_factors", "mup", "rules"]
