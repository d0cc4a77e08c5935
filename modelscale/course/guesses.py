"""Guesses: asked before their experiment, shown beside what was measured, kept in a ledger."""

import html
import json
import math
import os
import time
from numbers import Real
from pathlib import Path

import ipywidgets as w
import platformdirs
from IPython.display import display

from .. import check, dial
from ..files import write_whole
from .claims import NOTED, line


def predict(question: str, unit: str = "", value=None, options: tuple = ()) -> None:
    """Show a field for the reader's guess and *Lock in*; or lock in `value`, where one is given.

    With `options` the guess is one of them, else it is a number in `unit`. Nothing waits for it.
    Raises: ValueError for a `value` that is neither.
    """
    if value is not None:
        _LEDGER.lock(question, unit, _parse(value, options))
    _LEDGER.ask(question, unit)
    display(Field(question, unit, options))


def guess(question: str):
    """The reader's guess, or None: what a figure's `guess=` draws."""
    return _LEDGER.entry(question).get("guess")


def measured(question: str, value) -> None:
    """Print what was measured beside the guess, with the factor between; keep it in the ledger."""
    value = value if isinstance(value, str) else float(value)
    entry = _LEDGER.measure(question, value)
    print(line(NOTED, question, _compare(entry)))


def summary() -> "Table":
    """Every question of this notebook: guessed, measured, the factor between."""
    return Table([(question, *_row(entry)) for question, entry in _LEDGER.mine().items()])


def ledger_path() -> Path:
    """Where guesses are kept: $MODELSCALE_LEDGER, else a file in the user's data folder."""
    kept = os.environ.get("MODELSCALE_LEDGER")
    return Path(kept) if kept else platformdirs.user_data_path("modelscale") / "guesses.json"


class Ledger:
    """The guesses of all notebooks: {notebook: {question: {guess, unit, value, ...}}} in one file.

    What this kernel asked and measured is in memory; a file that cannot be read or written costs
    the memory of other kernels alone.
    """

    def __init__(self):
        self.asked = {}  # of this kernel, in the order of asking

    def ask(self, question: str, unit: str) -> None:
        """Write down that the question was asked: a guess of an earlier reading counts again."""
        known = self._read().get(_notebook(), {}).get(question, {})
        entry = self.asked.setdefault(question, {k: known[k] for k in ("guess",) if k in known})
        entry["unit"] = unit

    def lock(self, question: str, unit: str, value) -> None:
        """Keep a guess. One that comes after its measurement is marked as late."""
        self.ask(question, unit)
        entry = self.asked[question]
        entry.update(guess=value, late="value" in entry, date=time.strftime("%Y-%m-%d"))
        self._write(question)

    def measure(self, question: str, value) -> dict:
        """Keep what was measured, beside the guess. Returns the entry."""
        entry = self.asked.setdefault(question, {"unit": ""})
        entry["value"] = value
        if "guess" in entry:
            self._write(question)
        return entry

    def entry(self, question: str) -> dict:
        """What is known of a question in this kernel."""
        return self.asked.get(question, {})

    def mine(self) -> dict:
        """The questions of this kernel, in order."""
        return self.asked

    def _write(self, question):
        kept = self._read()
        kept.setdefault(_notebook(), {})[question] = self.asked[question]
        try:
            ledger_path().parent.mkdir(parents=True, exist_ok=True)
            write_whole(ledger_path(), json.dumps(kept, indent=1))
        except OSError:  # the guess counts in this kernel all the same
            return

    def _read(self):
        try:
            kept = json.loads(ledger_path().read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        whole = isinstance(kept, dict) and all(isinstance(part, dict) for part in kept.values())
        return kept if whole else {}


class Field(w.HBox):
    """The question, a field for the guess, and *Lock in*; as text where nothing moves."""

    def __init__(self, question: str, unit: str, options: tuple):
        self.question, self.unit, self.options = question, unit, options
        named = {"description": "Your guess", "style": {"description_width": "initial"}}
        if options:
            self.field = w.Dropdown(options=["", *options], **named)
        else:
            self.field = w.Text(placeholder="a number", layout={"width": "12em"}, **named)
        self.button = w.Button(description="Lock in", icon="lock", layout={"width": "7em"})
        self.button.on_click(self._lock)
        self.message = w.HTML()
        asked, unit = w.HTML(f"<b>{html.escape(question)}</b>"), w.HTML(html.escape(unit))
        parts = [asked, self.field, unit, self.button, self.message]
        super().__init__(parts, layout={"flex_flow": "row wrap"})
        if guess(question) is not None:
            self._show_locked()

    def _lock(self, _):
        try:
            value = _parse(self.field.value, self.options)
        except ValueError as error:
            self.message.value = f'<span role="alert">{html.escape(str(error))}</span>'
            return
        _LEDGER.lock(self.question, self.unit, value)
        self._show_locked()

    def _show_locked(self):
        entry = _LEDGER.entry(self.question)
        self.field.value = str(entry["guess"])
        self.field.disabled = self.button.disabled = True
        late = " after the measurement" if entry.get("late") else ""
        self.message.value = f'<span role="status">locked in{late}</span>'

    def __repr__(self) -> str:
        unit = f", in {self.unit}" if self.unit else ""
        choices = f" {', '.join(map(str, self.options))}" if self.options else ""
        return f"Your guess: {self.question}{unit}?{choices}"

    def _repr_mimebundle_(self, **kwargs):
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": repr(self)}


class Table:
    """Rows of (question, guessed, measured, distance), shown as HTML or as text."""

    HEADER = ("Question", "You guessed", "Measured", "")

    def __init__(self, rows):
        self.rows = rows

    def __repr__(self) -> str:
        return "\n".join(" | ".join(cell for cell in row if cell) for row in self.rows)

    def _repr_html_(self) -> str:
        def row(cells, tag):
            style = 'style="text-align:left"'
            inner = "".join(f"<{tag} {style}>{html.escape(str(c))}</{tag}>" for c in cells)
            return f"<tr>{inner}</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        return f"<table><thead>{row(self.HEADER, 'th')}</thead><tbody>{body}</tbody></table>"


def _parse(value, options):
    """The guess as a number, or as one of `options`; "60 %" and "1,000" are numbers."""
    if options:
        return check.one_of("guess", value, tuple(options))
    try:
        text = str(value).replace(",", "").strip()
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        check.refuse("guess", value, "a number", "write it as 0.6, 60 % or 6e-1")
    return number


def _row(entry):
    unit, value = entry.get("unit", ""), entry.get("value")
    said = _write(entry["guess"], unit) if "guess" in entry else "no guess"
    found = "not measured yet" if value is None else _write(value, unit)
    return said, found, _distance(entry)


def _compare(entry):
    said, found, distance = _row(entry)
    said = f"guessed {said}" if "guess" in entry else said
    return ", ".join(filter(None, [f"measured {found}", said, distance]))


def _distance(entry):
    said, found = entry.get("guess"), entry.get("value")
    if said is None or found is None:
        return ""
    late = ", late" if entry.get("late") else ""
    if not (isinstance(said, Real) and isinstance(found, Real)):
        return ("as guessed" if said == found else "otherwise") + late
    if min(said, found) <= 0:
        return f"off by {found - said:+.3g}{late}"
    return f"a factor of {max(said / found, found / said):.2g}{late}"


def _write(value, unit):
    value = f"{value:.3g}" if isinstance(value, Real) else value
    return f"{value} {unit}".strip()


def _notebook():
    return dial.started.notebook if dial.started else "unnamed"


_LEDGER = Ledger()  # one a kernel: a notebook is one reading
