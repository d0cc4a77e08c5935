"""Guesses recorded before an experiment, and shown beside the measurements at the end."""

import html
import math
from dataclasses import dataclass
from numbers import Integral, Real


@dataclass
class Entry:
    """One question: what the reader expected and what was measured, None where still open."""

    guess: object = None
    value: object = None
    unit: str = ""

    def row(self) -> tuple[str, str, str]:
        """What was expected, what was measured, and how far apart they are, in words."""
        no_guess = self.guess is None or self.guess is ...
        guess = "no guess" if no_guess else _write(self.guess, self.unit)
        if self.value is None:
            return guess, "not measured yet", ""
        if no_guess:
            return guess, _write(self.value, self.unit), ""
        return guess, _write(self.value, self.unit), self._distance()

    def _distance(self):
        if not (_is_number(self.guess) and _is_number(self.value)):  # "Depth" is as good as "depth"
            said, found = (str(x).strip().lower() for x in (self.guess, self.value))
            return "as expected" if said == found else "otherwise"
        if self.guess == self.value:
            return "as expected"
        if min(self.guess, self.value) <= 0:
            return f"off by {self.value - self.guess:+.3g}"
        factor = max(self.guess / self.value, self.value / self.guess)
        return "as expected" if factor < 1.1 else f"off by a factor of {factor:.2g}"


class Ledger:
    """The questions of one notebook, in the order in which they were asked."""

    def __init__(self):
        self.entries = {}

    def predict(self, question: str, guess) -> None:
        """Nothing: writes down what the reader expects; `...` or None stand for no guess yet."""
        self.entries.setdefault(question, Entry()).guess = guess
        if guess is None or guess is ...:
            print("No guess yet. Write one in place of the dots: it costs nothing to be wrong.")
        else:
            print("Your guess is written down.")

    def measured(self, question: str, value, unit: str = "") -> None:
        """Nothing: writes down what came out, to stand beside the guess."""
        entry = self.entries.setdefault(question, Entry())
        entry.value, entry.unit = value, unit

    def summary(self) -> "Table":
        """A table of every question: expected, measured, how far apart."""
        return Table([(question, *entry.row()) for question, entry in self.entries.items()])


class Table:
    """Rows of (question, expected, measured, distance), shown as HTML or as text."""

    HEADER = ("Question", "You expected", "Measured", "")

    def __init__(self, rows):
        self.rows = rows

    def __repr__(self) -> str:
        return "\n".join(" | ".join(cell for cell in row if cell) for row in self.rows)

    def _repr_html_(self) -> str:
        def line(cells, tag):
            style = 'style="text-align:left"'
            inner = "".join(f"<{tag} {style}>{html.escape(str(c))}</{tag}>" for c in cells)
            return f"<tr>{inner}</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><thead>{line(self.HEADER, 'th')}</thead><tbody>{body}</tbody></table>"


def _is_number(x):
    return isinstance(x, Real) and not isinstance(x, bool) and not math.isnan(x)


def _write(value, unit):
    if isinstance(value, Real) and not isinstance(value, Integral):
        value = f"{float(value):.3g}"
    return f"{value} {unit}".strip()


_LEDGER = Ledger()  # one a kernel: a notebook is one reading
predict, measured, summary = _LEDGER.predict, _LEDGER.measured, _LEDGER.summary
