"""Figures in the style of the course, and numbers in words that fit beside them.

Legend: S seeds, X points along the horizontal axis, R rows, K columns.
"""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text

from . import check

STYLE = Path(__file__).with_name("style.mplstyle")
KINDS = ("measured", "simulated", "published", "computed")
PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
LONG_TIMES = {86_400: "days", 3_600: "h", 60: "min"}  # seconds in each


def band(ax: Axes, x, runs, label: str, guess: tuple | None = None, **line) -> Line2D:
    """The line of the median over seeds, with a band from the lowest to the highest seed.

    `guess` is the reader's, as (x, y), drawn as a diamond; nothing where one is None. `line` goes
    to `Axes.plot`; of more than 20 points, about ten get a marker.
    Shapes: x (X,), runs (S, X), S at least 3.
    """
    runs = np.asarray(runs, dtype=float)  # (S, X)
    if runs.ndim != 2 or runs.shape[1] != len(x):
        check.refuse("shape of runs", runs.shape, f"(seeds, {len(x)}), one column for each x")
    check.integer("seeds", len(runs), low=3, remedy="run more seeds, or use ax.plot")
    # a share of the axes; for a lone point it would leave out the marker altogether
    line = {"markevery": 0.1 if len(x) > 20 else None, **line}
    (median,) = ax.plot(x, np.median(runs, axis=0), label=label, **line)
    low, high = runs.min(axis=0), runs.max(axis=0)
    ax.fill_between(x, low, high, color=median.get_color(), alpha=0.2, linewidth=0)
    if guess and None not in guess:
        ax.plot(*guess, "D", fillstyle="none", color=median.get_color(), label="your guess")
    return median


def heat(ax: Axes, values, x_labels, y_labels, number="{:.2g}", vmin=None, vmax=None) -> AxesImage:
    """A heat map that has its numbers in the cells; `number` formats one, or is a function.

    Shapes: values (R, K), x_labels (K,), y_labels (R,), the first row on top.
    """
    values = np.asarray(values, dtype=float)  # (R, K)
    shape = len(y_labels), len(x_labels)
    if values.shape != shape:
        check.refuse("shape of values", values.shape, f"{shape}, (y_labels, x_labels)")
    image = ax.imshow(values, cmap="cividis", vmin=vmin, vmax=vmax, aspect="auto")
    ax.set_xticks(range(len(x_labels)), x_labels)
    ax.set_yticks(range(len(y_labels)), y_labels)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    write = number if callable(number) else number.format
    style = {"ha": "center", "va": "center", "fontsize": 8 if max(shape) <= 6 else 7}
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            colour = _readable_on(image.to_rgba(value))
            ax.text(column, row, write(value), color=colour, **style)
    return image


def annotate_kind(ax: Axes, kind: str, seeds: int | None = None, guess=None, along="y") -> Text:
    """The small text at the top right of `ax` that says where its numbers come from.

    `guess` is the reader's, a number on the axis `along`, drawn as a dashed line; None draws none.
    """
    words = check.one_of("kind", kind, KINDS)
    if seeds is not None:
        check.integer("seeds", seeds)
        words += f", {seeds} seed{'s' if seeds > 1 else ''}"
    if guess is not None:
        draw = ax.axhline if check.one_of("along", along, ("x", "y")) == "y" else ax.axvline
        draw(guess, color="0.3", linestyle="--", marker="", linewidth=1)
        words += "; dashed: your guess"
    return ax.set_title(words, loc="right", fontsize="x-small", color="0.3")


def si(x: float) -> str:
    """`x` with three digits and an SI prefix: 1234567 gives "1.23 M"."""
    return _prefixed(x, digits=3)


def seconds(x_s: float) -> str:
    """`x_s` with two digits in the unit that suits it: 0.00129 gives "1.3 ms"."""
    for size_s, unit in LONG_TIMES.items():
        if abs(x_s) >= size_s and math.isfinite(x_s):
            return f"{x_s / size_s:.{0 if abs(x_s) >= 10 * size_s else 1}f} {unit}"
    text = _prefixed(x_s, digits=2)
    return text + ("s" if " " in text else " s")


def _prefixed(x, digits):
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    rounded = float(f"{x:.{digits - 1}e}")  # before the prefix is chosen: 999999 is 1 M
    power = 3 * math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return f"{rounded / 10.0**power:.{digits + 1}g} {PREFIXES[power]}".rstrip()


def _readable_on(rgba):
    """Black or white, whichever has the higher contrast (WCAG 2, relative luminance)."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba[:3]]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))
    return "black" if luminance > 0.179 else "white"
