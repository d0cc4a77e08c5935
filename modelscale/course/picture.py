"""One Matplotlib figure that is drawn again and again, fast enough to follow a slider.

No pyplot: it may be drawn from any thread, and no figure lingers. What moves is drawn on top of a
stored background with all the rest (blitting).
"""

import base64
import html
import io
from collections.abc import Callable, Iterator

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from .. import plot


class Picture:
    """A figure, what `setup(figure)` returned as `art`, and its PNG after each `draw()`.

    The artists in `art` (also inside lists, tuples and dicts) move; `first(art)` puts them in
    place. All the rest is drawn once, and again whenever something of it has changed: Matplotlib
    knows. The layout is computed once, so the axes do not jump.
    """

    def __init__(self, setup: Callable, first: Callable, figsize: tuple[float, float]):
        with matplotlib.style.context(plot.STYLE):
            self.figure = Figure(figsize=figsize)
            self._canvas = FigureCanvasAgg(self.figure)
            self.art = setup(self.figure)
            first(self.art)
            self.lay_out()
        self.png, self.full_draws, self._moving, self._background = b"", 0, [], None
        for artist in _artists(self.art):
            self.move(artist)

    def lay_out(self) -> None:
        """Make room for titles and labels as they are now."""
        self.figure.set_layout_engine("constrained")
        self._canvas.draw()
        self.figure.set_layout_engine("none")
        self.figure.stale = True  # the background is yet to be drawn

    def move(self, artist: Artist) -> None:
        """Draw `artist` from now on on top of the background."""
        artist.set_animated(True)
        self._moving = sorted([*self._moving, artist], key=Artist.get_zorder)
        self.figure.stale = True

    def draw(self) -> None:
        """Put the present state of the figure into `png`."""
        if self.figure.stale:  # a change of a moving artist does not make the figure stale
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
            self.full_draws += 1
        else:
            self._canvas.restore_region(self._background)
        for artist in self._moving:
            self.figure.draw_artist(artist)
        size, stream = self._canvas.get_width_height(), io.BytesIO()
        image = Image.frombuffer("RGBA", size, self._canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
        image.convert("RGB").save(stream, "png", compress_level=1)  # opaque; speed before size
        self.png = stream.getvalue()

    def as_html(self, text: str) -> str:
        """The picture as HTML, with `text` as its text alternative."""
        width, height = self._canvas.get_width_height()
        return (
            f'<img alt="{html.escape(text)}" width="{width}" height="{height}" '
            f'style="max-width:100%;height:auto" '
            f'src="data:image/png;base64,{base64.b64encode(self.png).decode()}">'
        )

    def add_to(self, bundle: dict, text: str) -> dict:
        """`bundle`, a widget's MIME bundle, with the picture for whoever reads without a kernel.

        `text` stays the same from run to run, so that stored outputs can be compared.
        """
        return bundle | {"image/png": base64.b64encode(self.png).decode(), "text/plain": text}


def _artists(art) -> Iterator[Artist]:
    """The artists in a nest of lists, tuples and dicts; whole axes are no moving parts."""
    if isinstance(art, dict | list | tuple):
        for part in art.values() if isinstance(art, dict) else art:
            yield from _artists(part)
    elif isinstance(art, Artist) and not isinstance(art, Axes):
        yield art
