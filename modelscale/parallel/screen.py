"""Where ranks' lines and progress appear while their caller waits: its cell, or its terminal."""

import sys
import time

_PACE_S = {"notebook": 0.1, "terminal": 1.0}  # between two showings of the progress


class Screen:
    """Shows what the ranks print: each line at once, and beside the lines how far each rank is.

    Text that ends in a carriage return is progress, as in a terminal: what follows takes its place.
    In a notebook it is a display of a line a rank, which goes when all have returned.
    """

    def __init__(self):
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        self.kind = "notebook" if hasattr(shell, "kernel") else "terminal"
        self.texts = {}  # by rank, the bytes after its last whole line
        self.progress = {}  # by rank, how far it is
        self.changed = set()  # the ranks whose progress is not shown yet
        self.display = None
        self.next_s = float("-inf")  # when progress may be shown again

    def show(self, rank: int, data: bytes, last: bool = False) -> None:
        """Print the lines that `data` completes; the `last` one, whole or not."""
        *lines, text = (self.texts.pop(rank, b"") + data).split(b"\n")
        if last and text and not text.startswith(b"\r"):
            lines, text = [*lines, text], b""
        for line in lines:
            print(f"[rank {rank}] {_topmost(line)}\n", end="", flush=True)
        if b"\r" in text:
            progress = _topmost(text)
            if progress and progress != self.progress.get(rank):
                self.progress[rank] = progress
                self.changed.add(rank)
            text = b"\r" + text.rpartition(b"\r")[2]
        self.texts[rank] = text
        if self.changed and time.monotonic() >= self.next_s:
            self._draw()

    def due_s(self) -> float:
        """Seconds until progress that is not shown yet may be."""
        return max(0.0, self.next_s - time.monotonic()) if self.changed else float("inf")

    def close(self, cleared: bool) -> None:
        """Show the last progress, or in a notebook none where it is to be `cleared`."""
        if self.display is not None and cleared:
            self.display.update({"text/plain": ""}, raw=True)
        elif self.changed:
            self._draw()

    def _draw(self):
        ranks = sorted(self.progress if self.kind == "notebook" else self.changed)
        text = "\n".join(f"[rank {rank}] {self.progress[rank]}" for rank in ranks)
        self.changed.clear()
        self.next_s = time.monotonic() + _PACE_S[self.kind]
        if self.kind == "terminal":
            print(text, flush=True)
        elif self.display is None:
            from IPython.display import display

            self.display = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self.display.update({"text/plain": text}, raw=True)


def _topmost(text):
    """What a terminal would show of a line with carriage returns in it."""
    parts = [part for part in text.split(b"\r") if part]
    return parts[-1].decode("utf-8", "replace") if parts else ""
