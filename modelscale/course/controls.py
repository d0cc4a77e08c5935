"""Controls with a name that a screen reader reads out and a value that can be typed."""

from collections.abc import Callable, Sequence

import ipywidgets as w
import traitlets

from .. import check


class Choice(w.HBox):
    """A control for one of `values`: a list with a name, and a slider beside it.

    `format` writes a value for the list. The slider's handle has no accessible name and takes no
    typed value; the list has both. The two are linked in the browser, so they stay together while
    the kernel is busy.
    Raises: ValueError for a `value` that is not among them.
    """

    value = traitlets.Any()

    def __init__(
        self, name: str, values: Sequence, value, unit: str = "", format: Callable[..., str] = str
    ):
        self.name, self.values = name, tuple(values)
        index = self._index(value)
        shared = {"options": [(format(v), v) for v in self.values], "index": index}
        named = {"description": f"{name} ({unit})" if unit else name, "layout": {"width": "auto"}}
        self.menu = w.Dropdown(style={"description_width": "initial"}, **named, **shared)
        self.slider = w.SelectionSlider(readout=False, layout={"width": "14em"}, **shared)
        # the kernel listens to the slider alone: the link brings it what happens to the list
        self.slider.observe(self._moved, "index")
        self._link = w.jslink((self.menu, "index"), (self.slider, "index"))
        super().__init__([self.menu, self.slider])
        self.value = self.values[index]

    @traitlets.validate("value")
    def _checked(self, proposal):
        return self.values[self._index(proposal["value"])]

    @traitlets.observe("value")
    def _set(self, change):
        index = self._index(change["new"])
        if index != self.slider.index:  # set in Python; what the user moved is not sent back
            self.slider.index = self.menu.index = index

    def _moved(self, change):
        self.value = self.values[change["new"]]

    def _index(self, value):
        return self.values.index(check.one_of(self.name, value, self.values))


choice = Choice  # as notebooks and explorers write it
