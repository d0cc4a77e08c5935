"""The growing curves of a training run: one or two panels, a line for each metric."""

import numpy as np
from matplotlib.ticker import LogFormatter

from .. import check
from .picture import Picture

LARGEST = 1e200  # of what is drawn


class Curves:
    """Metrics against the step, in the panels they belong to.

    `panels` maps a metric to a scale, "log" (both axes) or "linear". `test_loss` is a line in the
    panel `loss`; a metric of no panel is left out. `history[name]` holds (steps, values).
    """

    def __init__(self, total: int, panels: dict[str, str]):
        self.total, self.panels = total, panels
        self.history, self._axes, self._lines = {}, {}, {}
        self.picture = Picture(self._setup, lambda _: None, (3.2 + 1.6 * len(panels), 3.0))

    def add(self, step: int, metrics: dict) -> None:
        """Write down the metrics that belong to a panel.

        Raises: ValueError where none does.
        """
        known = {name: panel for name in metrics if (panel := self._panel(name))}
        if not known:
            allowed = " or ".join(f"{panel!r} or end in '_{panel}'" for panel in self.panels)
            check.refuse("metrics", sorted(metrics), allowed, "name its panel, as in loss='log'")
        for name, panel in known.items():
            if name not in self.history:
                self._add_line(name, self._axes[panel])
            steps, values = self.history[name]
            steps.append(step)
            values.append(float(metrics[name]))

    def draw(self, last: bool = False) -> None:
        """Draw the picture with all that was added; the `last` one makes room for its labels."""
        for name, line in self._lines.items():
            steps, values = self.history[name]
            line.set_data(steps, np.clip(values, -LARGEST, LARGEST))  # beyond it axes overflow
            line.set_markevery(max(1, len(steps) // 10))
            line.axes.relim()
            line.axes.autoscale_view(scalex=line.axes.get_xscale() == "log")
        if last:  # it costs as much as drawing
            self.picture.lay_out()
        self.picture.draw()

    def latest(self) -> str:
        """The newest value of each metric in words: "loss 0.3, test_loss 0.41"."""
        return ", ".join(f"{name} {ys[-1]:.3g}" for name, (_, ys) in self.history.items())

    def _setup(self, figure):
        row = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for (name, scale), ax in zip(self.panels.items(), row, strict=True):
            ax.set(xlabel="step", ylabel=name, xscale=scale, yscale=scale, xmargin=0)
            if scale == "linear":
                ax.set_xlim(0, max(2, self.total))
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


class _Plain(LogFormatter):
    """Writes 0.2 rather than 2e-01, where Matplotlib would write anything."""

    def __call__(self, x, pos=None):
        return f"{x:g}" if super().__call__(x, pos) else ""
