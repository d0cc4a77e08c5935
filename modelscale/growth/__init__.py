"""A trained network made wider, deeper or narrower, its optimizer state carried along."""

from .deep import deepen, stack
from .plan import carry
from .wide import narrow, widen

__all__ = ["carry", "deepen", "narrow", "stack", "widen"]
