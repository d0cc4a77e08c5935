"""An explorer and a live curve work in a real JupyterLab, for hands, keyboard and screen reader.

Pictures follow slider and list, errors of callbacks are seen, everything has an accessible name,
Stop and the interrupt button end a run and leave its picture, and the saved file keeps it.
"""

import base64

import pytest

pytestmark = pytest.mark.browser

EXPLORER = """
import ipywidgets
import numpy as np
from modelscale.course import Explorer, choice

x = np.linspace(0.1, 1, 50)

def setup(figure):
    axes = figure.subplots()
    axes.set(xlabel="x", ylabel="y", ylim=(0, 512))
    return axes.plot(x, x)[0]

def update(line, width, square):
    if width == 256:
        raise ArithmeticError("no such width")
    line.set_ydata(width * x ** (2 if square else 1))

Explorer(
    setup, update, lambda width, square: f"At width {width} the line ends at {width}.",
    width=choice("width", [4, 8, 16, 64, 256, 512], 16, unit="units"),
    square=ipywidgets.Checkbox(description="square"),
)
"""
LIVE = """
from modelscale.course import Live

live = Live(200_000, loss="log")
for step in live.steps():
    for _ in range(2000):
        pass
    live.log(loss=1 / (step + 1))
    if step + 1 == {last}:
        break
"""
AFTER = "print(live.status, len(live.history['loss'][0]) < 200_000)"


def test_the_picture_follows_slider_list_and_box(open_nb):
    """... and so do the words, under the picture and as its text alternative."""
    notebook = open_nb(EXPLORER)
    assert notebook.run_all() == []
    page, before = notebook.page, notebook.picture()
    menu = page.get_by_role("combobox", name="width (units)")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    notebook.wait_for_new_picture(before)
    says(page, 64)
    assert menu.input_value() == "64"  # the list follows the slider

    before = notebook.picture()
    menu.select_option("8")
    notebook.wait_for_new_picture(before)
    says(page, 8)
    page.get_by_role("slider").focus()
    before = notebook.picture()
    page.keyboard.press("ArrowLeft")  # the slider followed the list
    notebook.wait_for_new_picture(before)
    says(page, 4)

    before = notebook.picture()
    page.get_by_role("checkbox", name="square").click()
    notebook.wait_for_new_picture(before)
    assert notebook.errors() == []


def test_an_error_in_a_callback_is_seen_and_clears(open_nb):
    """A move that fails says why, the next good one takes it back."""
    notebook = open_nb(EXPLORER)
    assert notebook.run_all() == []
    page = notebook.page
    menu = page.get_by_role("combobox", name="width (units)")
    menu.select_option("256")
    page.get_by_role("alert").get_by_text("ArithmeticError: no such width").wait_for()
    says(page, 16)
    menu.select_option("512")
    page.get_by_role("alert").get_by_text("ArithmeticError").wait_for(state="detached")
    says(page, 512)
    assert notebook.errors() == []


def test_the_saved_file_keeps_the_pictures(open_nb):
    """Both kinds, after running all cells twice, with the same words each time."""
    notebook = open_nb(EXPLORER, LIVE.format(last=3))
    texts = []
    for _ in range(2):
        assert notebook.run_all() == []
        cells = notebook.save().cells
        data = [cell.outputs[-1].data for cell in cells]
        assert all(base64.b64decode(d["image/png"]).startswith(b"\x89PNG") for d in data)
        assert all(len(cell.outputs) == 1 for cell in cells)
        texts.append([d["text/plain"] for d in data])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("way", ["Stop", "interrupt"])
def test_a_run_is_stopped_and_leaves_its_picture(open_nb, way):
    """There is no traceback, so the cell after it runs as usual."""
    notebook = open_nb(LIVE.format(last=0), AFTER)
    page, stop = start(notebook)
    interrupt = page.locator('[data-command="notebook:interrupt-kernel"]').first
    (stop if way == "Stop" else interrupt).click()
    page.get_by_role("status").get_by_text("stopped at step").wait_for(timeout=10_000)
    page.locator(".jp-OutputArea-output pre").get_by_text("stopped True").wait_for()
    page.get_by_role("img", name="Training: stopped at step").wait_for()
    assert stop.is_disabled()
    assert notebook.errors() == []
    saved = notebook.save().cells[0].outputs[-1].data["image/png"]
    shown = notebook.picture().removeprefix("data:image/png;base64,")
    assert base64.b64decode(saved) == base64.b64decode(shown)  # the last, not the first


def says(page, width):
    words = f"At width {width} the line ends at {width}."
    page.get_by_role("status").get_by_text(words).wait_for()
    page.get_by_role("img", name=words).wait_for()


def start(notebook):
    """The page and the Stop button of a run that has drawn something."""
    notebook.start_all()
    page = notebook.page
    button = page.get_by_role("button", name="Stop")
    page.get_by_role("img", name="Training: ").wait_for()
    page.get_by_text("%, step").wait_for()
    notebook.wait_for_new_picture(notebook.picture())
    return page, button
