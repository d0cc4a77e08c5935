"""A live curve, a progress bar and a Stop button around an ordinary training loop.

The loop blocks, as any cell does: Run All keeps its order, and without a browser it just runs.
"""

import html
import signal
import threading
import time
from collections.abc import Iterator

import ipywidgets as w
import numpy as np
from IPython import get_ipython
from IPython.display import display

from .. import check
from ..plot import seconds
from .curves import Curves

REDRAW_S = 0.25, 2.0  # how old a picture grows before the next is drawn, at least and at most
REDRAWS = 20  # times as long as drawing takes; between the two, this decides


class Live(w.VBox):
    """What a training run of `total` steps shows; each keyword is a panel and its scale.

    In `Live(400, loss="log", accuracy="linear")`, `loss` and every metric whose name ends in
    `_loss` is a line in the first of two panels; metrics of no panel are left out.

        for step in live.steps():         # a loop of one's own
            ...
            live.log(loss=loss)

        with live:                        # a loop of somebody else
            train.fit(model, data, callback=live)

    Stop, and the interrupt button of the toolbar, end the run at the next step without an error.
    The last picture stays in the saved notebook. `history[name]` holds (steps, values).
    Raises: ValueError for other than one or two panels, or a scale not "log" or "linear".
    """

    def __init__(self, total: int, title: str = "Training", **panels: str):
        self.total = check.integer("total", total)
        self.title, self.panels = title, panels or {"loss": "log"}
        check.integer("panels", len(self.panels), high=2, remedy="name one or two metrics")
        for name, scale in self.panels.items():
            check.one_of(name, scale, ("log", "linear"))
        self._stop, self._before = threading.Event(), None
        self.bar = w.IntProgress(max=total, description=title, style={"description_width": "auto"})
        self.button = w.Button(description="Stop", icon="stop", tooltip="Stops after this step")
        self.button.on_click(lambda _: self._stop.set())
        self.message, self.image = w.HTML(), w.HTML()
        super().__init__([w.HBox([self.bar, self.button]), self.message, self.image])
        self._reset()

    def steps(self) -> Iterator[int]:
        """The steps 0, 1, ..., until the last or until Stop is asked for."""
        with self:  # a loop that raised or broke out closes it by GeneratorExit
            for step in range(self.total):
                if self._stop.is_set():
                    break
                yield step
                self._advance(step + 1)

    def log(self, **metrics: float) -> None:
        """Write down the metrics of this turn of the loop over `steps()`."""
        self._curves.add(self.done + 1, metrics)

    def __call__(self, step: int, metrics: dict) -> bool:
        """Whether to stop, asked by somebody else's loop after `step` steps."""
        self._curves.add(step, metrics)
        self._advance(step)
        return self._stop.is_set()

    def __enter__(self) -> "Live":
        """Show the widget, empty, and take over the interrupt button."""
        if self.status != "ready":
            self._reset()
        self.status, self._began = "running", time.monotonic()
        if get_ipython() is not None:
            self._shown = display(self, display_id=True)
        # ipykernel 7.4 sends a click to the shell that is busy with the loop; forgotten, the
        # address is JupyterLab's subshell again. Elsewhere there is nothing to forget
        vars(self.button.comm).pop("_reply_subshell_id", None)
        self._restore_interrupt()  # a run that was left half-way has it still
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        """Draw the last picture, and put it into the notebook."""
        self._restore_interrupt()
        self.button.disabled = True
        ended = "stopped" if self._stop.is_set() else "finished"
        self.status = "ended early" if kind else ended
        self._redraw()
        if self._shown is not None:
            self._shown.update(self)

    def _reset(self):
        self._stop.clear()
        self.button.disabled = False
        self.done, self.status, self._shown = 0, "ready", None
        self._curves = Curves(self.total, self.panels)
        self.history = self._curves.history
        self._began = time.monotonic()
        self._redraw()

    def _advance(self, done):
        self.done = done
        if time.monotonic() >= self._next_draw:
            self._redraw()

    def _redraw(self):
        began = time.monotonic()
        ended, text = self.status not in ("ready", "running"), self._words(began - self._began)
        self._curves.draw(last=ended)
        self.bar.value = self.done
        role = ' role="status"' if ended else ""  # not four times a second
        self.message.value = f"<span{role}>{html.escape(text)}</span>"
        self.image.value = self._curves.picture.as_html(f"{self.title}: {text}")
        now = time.monotonic()
        self._next_draw = now + np.clip(REDRAWS * (now - began), *REDRAW_S)

    def _words(self, spent_s):
        """The state of the run: the line under the bar, and the text alternative."""
        where, latest = f"step {self.done} of {self.total}", self._curves.latest()
        words = f"{self.status} at {where} after {seconds(spent_s)}"
        if self.status == "running":
            left = seconds(spent_s / max(self.done, 1) * (self.total - self.done))
            words = f"{100 * self.done // self.total} %, {where}, about {left} left"
        return f"{words}: {latest}" if latest else words

    def _interrupted(self, *_):
        """Like Stop; a second interrupt is an ordinary one."""
        self._stop.set()
        self._restore_interrupt()

    def _restore_interrupt(self):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _repr_mimebundle_(self, **kwargs):
        text = f"{self.title}: {' and '.join(self.panels)} against the step."
        return self._curves.picture.add_to(super()._repr_mimebundle_(**kwargs), text)
