"""Claims: one line each, that is both what the page says and what the tests compare."""

from ..check import refuse

HELD, FAILED, NOTED = "✔", "✘", "◆"  # nbval.cfg strips what such a line has in parentheses


def claim(words: str, holds, evidence: str) -> None:
    """Print whether a claim holds, and in parentheses the numbers that say so.

    The tests compare mark and words; `evidence` may change from machine to machine.
    """
    if "(" in words or "\n" in words + evidence:
        refuse("words", words, "one line without parentheses", "say the rest in the evidence")
    print(line(HELD if holds else FAILED, words, evidence))


def line(mark: str, words: str, evidence: str) -> str:
    """A line of which the tests compare what stands before the parentheses."""
    return f"{mark} {words} ({evidence})"
