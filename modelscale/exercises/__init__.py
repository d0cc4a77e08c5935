"""Predictions written down before an experiment, and exercises that answer with a verdict.

The exercises of a notebook are checked by the module of its subject: `your_machine` and so on.
"""

from .base import Verdict, exercise
from .predictions import measured, predict, summary

__all__ = ["Verdict", "exercise", "measured", "predict", "summary"]
