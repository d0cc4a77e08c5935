"""Reuse of a trained network: a new head, a frozen beginning, adapters."""

from .lora import add_lora, merge
from .stages import adapt, features, freeze, stages

__all__ = ["adapt", "add_lora", "features", "freeze", "merge", "stages"]
