"""Figures in the style of the course, and numbers in words that fit beside them.

Legend: S seeds, X points along the horizontal axis, R rows, K columns.
"""

import math
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text

from . import check

STYLE = Path(__file__).with_name("style.mplstyle")
KINDS = ("measured", "simulated", "published", "computed")
PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
LONG_TIMES = {86_400: "days", 3_600: "h", 60: "min"}  # seconds in each


def use_style() -> None:
    """Make the style of the course the style of every figure from here on."""
    matplotlib.style.use(STYLE)
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        # Jupyter asks for "tight" whatever the style says: slower, and no two figures of one size
        shell.run_line_magic("config", "InlineBackend.print_figure_kwargs = {'bbox_inches': None}")


def band(ax: Axes, x, runs, label: str, guess: tuple | None = None, **line) -> Line2D:
    """The line of the median over seeds, with a band from the lowest to the highest seed.

    `guess` is the reader's, as (x, y), drawn as a diamond; nothing where one is None. `line` goes
    to `Axes.plot`.
    Shapes: x (X,), runs (S, X), S at least 3.
    Raises: ValueError for fewer than 3 seeds, or a row whose length is not that of `x`.
    """
    runs = np.asarray(runs, dtype=float)  # (S, X)
    if runs.ndim != 2 or runs.shape[1] != len(x):
        raise ValueError(
            f"runs has shape {runs.shape}: it must be (seeds, {len(x)}), one column for each x. "
            "Stack one row for each seed."
        )
    check.integer("seeds", len(runs), low=3, remedy="run more seeds, or use ax.plot")
    line = {"markevery": markevery(len(x)), **line}
    (median,) = ax.plot(x, np.median(runs, axis=0), label=label, **line)
    low, high = runs.min(axis=0), runs.max(axis=0)
    ax.fill_between(x, low, high, color=median.get_color(), alpha=0.2, linewidth=0)
    if guess and None not in guess:
        ax.plot(*guess, "D", fillstyle="none", color=median.get_color(), label="your guess")
    return median


def markevery(n: int) -> float | None:
    """The `markevery` of a line of `n` points: all where they are few, else about ten evenly."""
    return 0.1 if n > 20 else None  # a share of the axes; it leaves out a lone point altogether


def heat(
    ax: Axes, values, x_labels, y_labels, number="{:.2g}", vmin=None, vmax=None
) -> tuple[AxesImage, list[Text]]:
    """The image and the texts of a heat map that has its numbers in the cells.

    `number` formats a cell, or is a function that does. The image keeps its range of colours when
    `set_heat` changes the numbers, so give `vmin` and `vmax` where they will change.
    Shapes: values (R, K), x_labels (K,), y_labels (R,), the first row on top.
    Raises: ValueError where the labels do not match the values.
    """
    values = np.asarray(values, dtype=float)  # (R, K)
    if values.shape != (len(y_labels), len(x_labels)):
        raise ValueError(
            f"values has shape {values.shape}: it must be {len(y_labels), len(x_labels)}, "
            "(y_labels, x_labels). Transpose it, or change the labels."
        )
    image = ax.imshow(values, cmap="cividis", vmin=vmin, vmax=vmax, aspect="auto")
    ax.set_xticks(range(len(x_labels)), x_labels)
    ax.set_yticks(range(len(y_labels)), y_labels)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    rows, columns = np.indices(values.shape)
    size = 8 if max(values.shape) <= 6 else 7
    texts = [
        ax.text(column, row, "", ha="center", va="center", fontsize=size)
        for row, column in zip(rows.flat, columns.flat, strict=True)
    ]
    set_heat((image, texts), values, number)
    return image, texts


def set_heat(drawn: tuple[AxesImage, list[Text]], values, number="{:.2g}") -> None:
    """Put new values of the same shape into what `heat` returned."""
    image, texts = drawn
    values = np.asarray(values, dtype=float)
    image.set_data(values)
    write = number if callable(number) else number.format
    colours = image.to_rgba(values).reshape(-1, 4)
    for text, value, colour in zip(texts, values.flat, colours, strict=True):
        text.set_text(write(value) if math.isfinite(value) else "")
        text.set_color(_readable_on(colour))


def annotate_kind(ax: Axes, kind: str, seeds: int | None = None, guess=None, along="y") -> Text:
    """The small text at the top right of `ax` that says where its numbers come from.

    `guess` is the reader's, a number on the axis `along`, drawn as a dashed line; None draws none.

    Raises: ValueError for a kind that is not measured, simulated, published or computed.
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
