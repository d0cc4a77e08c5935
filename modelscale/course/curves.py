"""The growing curves of a training run: one or two panels, a line for each metric."""

import math

import numpy as np
from matplotlib.ticker import LogFormatter

from .picture import Picture

WIDTHS_IN = {1: 4.8, 2: 6.4}  # of a figure with so many panels


class Curves:
    """Metrics against the step, in the panels they belong to.

    `panels` maps a metric to a scale, "log" (both axes) or "linear". `test_loss` is a line in the
    panel `loss`; a metric of no panel is left out. `history[name]` holds (steps, values).
    """

    def __init__(self, total: int, panels: dict[str, str]):
        self.total, self.panels, self.history = total, panels, {}
        self._axes, self._lines, self._limits = {}, {}, {}
        self.picture = Picture(self._setup, lambda _: None, (WIDTHS_IN[len(panels)], 3.0))

    def add(self, step: int, metrics: dict) -> None:
        """Write down the metrics that belong to a panel.

        Raises: ValueError where none does.
        """
        known = {name: panel for name in metrics if (panel := self._panel(name))}
        if not known:
            allowed = " or ".join(f"{panel!r} or end in '_{panel}'" for panel in self.panels)
            raise ValueError(
                f"metrics={sorted(metrics)}: one must be {allowed}. Rename it, or name its panel: "
                "Live(total, loss='log', accuracy='linear')."
            )
        for name, panel in known.items():
            if name not in self.history:
                self._add_line(name, self._axes[panel])
            steps, values = self.history[name]
            steps.append(step)
            values.append(float(metrics[name]))

    def draw(self, last: bool = False) -> None:
        """Draw the picture with all that was added; the `last` one fits the lines."""
        for name, line in self._lines.items():
            steps, values = self.history[name]
            line.set_data(steps, values)
            line.set_markevery(_marked(len(steps), line.axes.get_xscale()))
        before = dict(self._limits)
        for panel, ax in self._axes.items():
            self._make_room(panel, ax, last)
        if self._limits != before:  # so are the numbers at the axes, and the room they need
            self.picture.lay_out()
        self.picture.draw()

    def latest(self) -> str:
        """The newest value of each metric in words: "loss 0.3, test_loss 0.41"."""
        return ", ".join(f"{name} {ys[-1]:.3g}" for name, (_, ys) in self.history.items())

    def _setup(self, figure):
        row = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for (name, scale), ax in zip(self.panels.items(), row, strict=True):
            ax.set(xlabel="step", ylabel=name, xscale=scale, yscale=scale)
            ax.set_xlim(1 if scale == "log" else 0, max(2, self.total))
            ax.xaxis.minorticks_off()  # they cost more than all the rest
            if scale == "log":
                ax.yaxis.set_major_formatter(_Plain())
                ax.yaxis.set_minor_formatter(_Plain(minor_thresholds=(2, 0.5)))
            self._axes[name] = ax

    def _panel(self, name):
        return next((p for p in self.panels if name == p or name.endswith(f"_{p}")), None)

    def _add_line(self, name, ax):
        self.history[name] = [], []
        (self._lines[name],) = ax.plot([], [], label=name)
        if len(ax.lines) > 1:
            ax.legend(frameon=False, fontsize="small")
        self.picture.move(self._lines[name])

    def _make_room(self, panel, ax, last):
        """Widens the vertical limits by half on the side a line left: each time costs a full draw.

        The `last` time they close in on the lines, on the left, too, where steps are logarithmic.
        """
        log = self.panels[panel] == "log"
        ys = np.concatenate([[], *(line.get_ydata() for line in ax.lines)])
        ys = ys[np.isfinite(ys) & ((ys > 0) | (not log))]
        if not ys.size:
            return
        low, high = (math.log10(y) if log else y for y in (ys.min(), ys.max()))
        bottom, top = (math.inf, -math.inf) if last else self._limits.get(panel, (low, low))
        room = (0.05 if last else 0.5) * (high - low) or 0.1 * abs(high) or 0.1
        new = (low - room if low <= bottom else bottom), (high + room if high >= top else top)
        if new != self._limits.get(panel):
            self._limits[panel] = new
            first = min(line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()))
            if last and log and first < self.total:
                ax.set_xlim(left=first)
            ax.set_ylim(*((10.0 ** min(max(y, -200), 200) for y in new) if log else new))


class _Plain(LogFormatter):
    """Writes 0.2 rather than 2e-01, where Matplotlib would write anything."""

    def __call__(self, x, pos=None):
        return f"{x:g}" if super().__call__(x, pos) else ""


def _marked(n, scale):
    """The points, about ten of `n`, that carry a marker: evenly spread along the step axis."""
    spread = np.geomspace(1, n, 10) if scale == "log" else np.linspace(1, n, 10)
    return sorted({round(i) - 1 for i in spread})
