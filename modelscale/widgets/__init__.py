"""Explorers of notebooks that have not moved into `course` yet."""

from ..course import Choice, Explorer, Live, choice

__all__ = ["Choice", "Explorer", "Live", "choice"]
