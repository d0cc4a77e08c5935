"""Every explorer answers hands and keyboard in a real JupyterLab, and one notebook runs whole.

Of each notebook the cells tagged `explorer` run alone: set-up, stored sweep, explorer. Each control
is moved with the keyboard and, where it has one, by its list; picture and words follow, and all
that can be operated has an accessible name. A guess is locked in and drawn. All in size "quick".
"""

import contextlib
import shutil
from pathlib import Path

import nbformat
import pytest
from lab import jupyterlab

from modelscale.course import Choice
from test_course_explorers import EXPLORERS

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WHOLE = "01_vertical_scaling"


@pytest.fixture(scope="module")
def course(chromium, tmp_path_factory):
    """A JupyterLab over a folder with the stored results, whose kernels run in size quick."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS / "results", folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELSCALE_SIZE", "quick")
        patch.setenv("MODELSCALE_LEDGER", str(folder / "guesses.json"))
        with jupyterlab(tmp_path_factory.mktemp("private"), folder) as lab:
            yield lab


@pytest.fixture
def open_course(course, opened):
    """`open_course(path, keep)`: a `lab.Notebook` with the cells to keep, as if nobody ran it."""

    def open_(path, keep):
        content = nbformat.read(path, as_version=4)
        content.cells = [cell for cell in content.cells if keep(cell)]
        for cell in content.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        return opened(course, content, limit_s=400)

    return open_


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_follows_every_control(open_course, name):
    (path,) = NOTEBOOKS.glob(f"[0-9][0-9]_{name}.ipynb")
    notebook = open_course(path, lambda cell: "explorer" in cell.metadata.get("tags", []))
    notebook.page.set_default_timeout(60_000)
    assert notebook.run_all() == []
    ran_in_size_quick(notebook)
    explorer, controls = explorer_of(notebook.page), EXPLORERS[name]().controls.values()
    lists = [control.menu.description for control in controls if isinstance(control, Choice)]
    everything_is_named(explorer, len(controls) - len(lists), lists)
    press_buttons(explorer)
    for label in lists:
        choose_and_slide(explorer, label)
    assert notebook.errors() == []


def test_a_notebook_runs_whole_and_draws_the_guess_that_was_locked_in(open_course):
    notebook = open_course(NOTEBOOKS / f"{WHOLE}.ipynb", lambda cell: True)
    notebook.page.set_default_timeout(120_000)
    assert notebook.run_all() == []
    ran_in_size_quick(notebook)
    field = notebook.page.get_by_role("textbox", name="Your guess").first
    field.scroll_into_view_if_needed()
    field.fill("0.5")
    notebook.page.get_by_role("button", name="Lock in").first.click()
    notebook.page.get_by_role("status").get_by_text("locked in").first.wait_for()
    assert notebook.run_all() == []
    said = [line for line in printed(notebook) if line.startswith("◆") and "guessed 0.5" in line]
    assert len(said) == 1


def ran_in_size_quick(notebook):
    assert any("modelscale: size quick" in line for line in printed(notebook))


def printed(notebook):
    """The lines that the cells of a notebook printed."""
    outputs = [out for cell in notebook.save().cells for out in cell.get("outputs", [])]
    return [line for out in outputs for line in out.get("text", "").splitlines()]


def explorer_of(page):
    """The one explorer of the page, as soon as it has its picture."""
    explorer = page.locator(".jp-OutputArea-output .widget-vbox").filter(
        has=page.locator(".widget-html img")
    )
    explorer.first.locator(".widget-html img").wait_for()
    explorer.first.scroll_into_view_if_needed()
    return explorer.first


def everything_is_named(explorer, groups, lists):
    """Each button and list, and the picture, can be found by a name; a slider's list has it."""
    assert len(button_groups(explorer)) == groups
    for group in button_groups(explorer):
        for kind in group.get_by_role("button").all_text_contents():
            assert kind and group.get_by_role("button", name=kind, exact=True).count() == 1
    for label in lists:
        assert explorer.get_by_role("combobox", name=label, exact=True).count() == 1
    assert explorer.get_by_role("combobox").count() == len(lists)
    assert explorer.get_by_role("slider").count() == len(lists)
    assert explorer.get_by_role("img", name=words(explorer), exact=True).count() == 1


def button_groups(explorer):
    return explorer.locator(".widget-toggle-buttons").all()


def press_buttons(explorer):
    """Every button but the one that is pressed, then that one again."""
    for group in button_groups(explorer):
        first = group.locator("button.mod-active").inner_text()
        kinds = group.get_by_role("button").all_text_contents()
        for kind in [*(kind for kind in kinds if kind != first), first]:
            with moved(explorer, kind):
                group.get_by_role("button", name=kind, exact=True).focus()
                explorer.page.keyboard.press("Enter")


def choose_and_slide(explorer, label):
    """The list chooses its last value, and one key leads its slider to the one beside it."""
    menu = explorer.get_by_role("combobox", name=label, exact=True)
    texts = menu.locator("option").all_inner_texts()
    values = [text.replace("\xa0", " ") for text in texts]  # so that no line breaks
    last = values[-1] if menu.input_value() != values[-1] else values[0]
    with moved(explorer, last):
        menu.select_option(last)
    step, key = (1, "ArrowRight") if last == values[0] else (-1, "ArrowLeft")
    beside = values[values.index(last) + step]
    with moved(explorer, beside):
        menu.locator("xpath=ancestor::*[contains(@class, 'widget-hbox')][1]").get_by_role(
            "slider"
        ).focus()
        explorer.page.keyboard.press(key)
    assert menu.input_value() == beside


@contextlib.contextmanager
def moved(explorer, value):
    """Its end waits for another picture, and for words that differ and name `value`."""
    image = explorer.locator(".widget-html img")
    before, said = image.get_attribute("src"), words(explorer)
    yield
    for _ in range(150):
        if image.get_attribute("src") != before and words(explorer) != said:
            break
        explorer.page.wait_for_timeout(100)
    assert image.get_attribute("src") != before, "the picture stayed"
    assert words(explorer) != said and value in words(explorer).replace(",", "")
    assert image.get_attribute("alt") == words(explorer)
    assert image.evaluate("e => e.complete && e.naturalWidth > 300")
    assert explorer.get_by_role("alert").count() == 0


def words(explorer):
    """The line under the picture."""
    return explorer.locator('p[role="status"]').inner_text()
