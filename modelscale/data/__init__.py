"""The data of the course: seeded, made or found on this machine, never downloaded or cached."""

from .base import Dataset
from .letters import digits, letters
from .signals import TEMPLATES, random_templates, signals
from .text import Text, text

__all__ = [
    "TEMPLATES",
    "Dataset",
    "Text",
    "digits",
    "letters",
    "random_templates",
    "signals",
    "text",
]
