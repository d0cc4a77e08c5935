"""Checkers and guesses of notebooks that have not moved into `course` yet."""

from ..course.checkers import Verdict, exercise
from .predictions import measured, predict, summary

__all__ = ["Verdict", "exercise", "measured", "predict", "summary"]
