"""Controls that move a figure: the base of every explorer of the course."""

import html
import threading
from collections.abc import Callable

import ipywidgets as w
import numpy as np

from .picture import Picture


class Explorer(w.VBox):
    """Controls, the figure they move, and a line that says in words what it shows.

    - `setup(figure)` draws everything once and returns the artists that move.
    - `update(art, **values)` sets their data. Limits, titles and labels may change as well: the
      whole figure is then drawn again, which is slower.
    - `describe(**values)` is that line, with numbers. It is the picture's text alternative too.
    - `controls` are widgets with a `.value`, by the name that `update` and `describe` take.

    The callbacks run on every move, so they are closed forms or stored sweeps, under 100 ms. An
    error in them is shown in the widget, since JupyterLab shows it nowhere; one in the first
    drawing is raised. The saved notebook keeps the picture as it was first shown.
    """

    def __init__(
        self,
        setup: Callable,
        update: Callable,
        describe: Callable[..., str],
        figsize: tuple[float, float] = (4.8, 3.0),
        **controls,
    ):
        self.controls, self.text = controls, ""
        self._update, self._describe = update, describe
        self._lock, self._stale = threading.Lock(), False
        self.image, self.error = w.HTML(), w.HTML()
        self.picture = Picture(setup, lambda art: update(art, **self.state), figsize)
        self._show()
        for control in controls.values():
            control.observe(self._moved, "value")
        super().__init__([*controls.values(), self.image, self.error])

    @property
    def state(self) -> dict:
        """The present value of each control, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def _moved(self, _):
        """Draws unless somebody is drawing; who draws goes on until the picture is up to date.

        So moves that arrive meanwhile collapse to the latest, whatever thread they arrive in.
        """
        self._stale = True
        while self._stale and self._lock.acquire(blocking=False):
            try:
                self._stale = False
                self._update(self.picture.art, **self.state)
                self._show()
                self.error.value = ""
            except Exception as error:
                words = html.escape(f"{type(error).__name__}: {error}")
                self.error.value = f'<b role="alert">{words} (The picture is the one before.)</b>'
            finally:
                self._lock.release()

    def _show(self):
        text = self._describe(**self.state)
        self.picture.draw()
        line = f'<p role="status">{html.escape(text)}</p>'
        self.text, self.image.value = text, self.picture.as_html(text) + line

    def _repr_mimebundle_(self, **kwargs):
        text = f"Interactive figure; its controls: {', '.join(self.controls)}."
        return self.picture.add_to(super()._repr_mimebundle_(**kwargs), text)


def spread(runs) -> str:
    """The median of what every seed gave, and its ends: "0.53 (0.45 to 0.61)"."""
    return f"{np.median(runs):.2f} ({np.min(runs):.2f} to {np.max(runs):.2f})"
