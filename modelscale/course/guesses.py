"""Guesses: asked before their experiment, shown beside what was measured, kept in a ledger.

What this kernel asked and measured is in memory. The ledger, one file for all notebooks, holds
{notebook: {question: {guess, unit, value, ...}}}; one that cannot be read or written costs the
memory of other kernels alone.
"""

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

_ASKED = {}  # of this kernel, in the order of asking: {question: what is known of it}


def predict(question: str, unit: str = "", value=None, options: tuple = ()) -> None:
    """Show a field for the reader's guess and *Lock in*; or lock in `value`, where one is given.

    With `options` the guess is one of them, else it is a number in `unit`. Nothing waits for it; a
    guess of an earlier reading counts again.
    Raises: ValueError for a `value` that is neither.
    """
    known = _kept().get(_notebook(), {}).get(question, {})
    entry = {"guess": known["guess"]} if "guess" in known else {}
    _ASKED.setdefault(question, entry)["unit"] = unit
    if value is not None:
        _lock(question, _parse(value, options))
    display(Field(question, unit, options))


def guess(question: str):
    """The reader's guess, or None: what a figure's `guess=` draws."""
    return _ASKED.get(question, {}).get("guess")


def measured(question: str, value) -> None:
    """Print what was measured beside the guess, with the factor between; keep it in the ledger."""
    entry = _ASKED.setdefault(question, {})
    entry["value"] = value if isinstance(value, str) else float(value)
    if "guess" in entry:
        _keep(question)
    said, found, distance = _row(entry)
    said = f"guessed {said}" if "guess" in entry else said
    print(line(NOTED, question, ", ".join(filter(None, [f"measured {found}", said, distance]))))


def summary() -> "Table":
    """Every question of this notebook: guessed, measured, the factor between."""
    return Table([(question, *_row(entry)) for question, entry in _ASKED.items()])


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
        self.button.on_click(self._locked_in)
        self.message = w.HTML()
        asked, unit = w.HTML(f"<b>{html.escape(question)}</b>"), w.HTML(html.escape(unit))
        parts = [asked, self.field, unit, self.button, self.message]
        super().__init__(parts, layout={"flex_flow": "row wrap"})
        if guess(question) is not None:
            self._show_locked()

    def _locked_in(self, _):
        try:
            _lock(self.question, _parse(self.field.value, self.options))
            self._show_locked()
        except ValueError as error:
            self.message.value = f'<span role="alert">{html.escape(str(error))}</span>'

    def _show_locked(self):
        self.field.value = str(guess(self.question))
        self.field.disabled = self.button.disabled = True
        late = " after the measurement" if _ASKED[self.question].get("late") else ""
        self.message.value = f'<span role="status">locked in{late}</span>'

    def __repr__(self) -> str:
        unit = f", in {self.unit}" if self.unit else ""
        choices = f" {', '.join(map(str, self.options))}" if self.options else ""
        return f"Your guess: {self.question}{unit}?{choices}"

    def _repr_mimebundle_(self, **kwargs):
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": repr(self)}


class Table:
    """Rows of (question, guessed, measured, distance), shown as HTML or as text."""

    def __init__(self, rows):
        self.rows = rows

    def __repr__(self) -> str:
        return "\n".join(" | ".join(filter(None, row)) for row in self.rows)

    def _repr_html_(self) -> str:
        def row(cells, tag):
            open_ = f'<{tag} style="text-align:left">'
            return f"<tr>{''.join(f'{open_}{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        head = row(("Question", "You guessed", "Measured", ""), "th")
        body = "".join(row(cells, "td") for cells in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _lock(question, value):
    """Keep a guess. One that comes after its measurement is marked as late."""
    entry = _ASKED[question]
    entry.update(guess=value, late="value" in entry, date=time.strftime("%Y-%m-%d"))
    _keep(question)


def _ledger():
    """$MODELSCALE_LEDGER, else a file in the user's data folder."""
    kept = os.environ.get("MODELSCALE_LEDGER")
    return Path(kept) if kept else platformdirs.user_data_path("modelscale") / "guesses.json"


def _keep(question):
    kept = _kept()
    kept.setdefault(_notebook(), {})[question] = _ASKED[question]
    try:
        _ledger().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_ledger(), json.dumps(kept, indent=1))
    except OSError:  # the guess counts in this kernel all the same
        return


def _kept():
    try:
        kept = json.loads(_ledger().read_text("utf-8"))
        whole = all(isinstance(part, dict) for part in kept.values())
    except (OSError, ValueError, AttributeError):
        return {}
    return kept if whole else {}


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
    """What was guessed, what was found, and the distance between, in words."""
    unit, said, found = entry.get("unit", ""), entry.get("guess"), entry.get("value")
    words = "no guess" if said is None else _write(said, unit)
    return words, "not measured yet" if found is None else _write(found, unit), _distance(entry)


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
