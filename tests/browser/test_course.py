"""The notebooks of the course run in a real JupyterLab, and their explorers answer every control.

In the size "quick", beside their stored results, as a learner finds them. Each control is moved
with the keyboard and, where it has one, by its list; picture and words follow, and all that can be
operated has an accessible name.
"""

import contextlib
import shutil
from pathlib import Path

import nbformat
import pytest
from lab import jupyterlab

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
GROUPS = {  # of buttons: each is pressed in this order, the one pressed at first comes last
    "00_your_machine": [("matrix x vector", "addition", "matrix x matrix")],
    "01_vertical_scaling": [("residual", "plain")],
    "02_scaling_laws": [
        ("Besiroglu 2024", "these GPTs", "Hoffmann 2022"),
        ("Hoffmann 2022", "these GPTs", "Besiroglu 2024"),
    ],
    "03_tuning_at_scale": [("sgd", "adamw"), ("muP", "standard")],
    "04_overfitting": [],
    "05_transfer_learning": [],
    "06_growing_models": [("equal copies", "fresh neurons", "unequal copies")],
    "08_data_parallel": [
        ("MLP 3 x 128", "MLP 4 x 1024", "GPT 4 x 256", "convolutions"),
        ("batch per worker", "fixed batch"),
        ("in turn", "overlap"),
    ],
    "07_efficiency": [],
    "09_model_parallel": [("naive", "gpipe", "1f1b", "zero_bubble", "interleaved")],
}
LISTS = {
    "00_your_machine": {"n": "16"},
    "01_vertical_scaling": {
        "depth (layers)": "16",
        "width (neurons)": "128",
        "data (samples)": "500",
    },
    "02_scaling_laws": {"budget (FLOPs)": "1e+24"},
    "03_tuning_at_scale": {"width (neurons)": "64", "learning rate": "2^-6"},
    "04_overfitting": {
        "capacity (features)": "100",
        "data (samples)": "200",
        "noise (variance)": "0.5",
        "ridge": "0.1",
    },
    "05_transfer_learning": {
        "source and target": "10 templates to 10 others",
        "labels (a class)": "20",
    },
    "06_growing_models": {"first width (neurons)": "16", "budget (FLOPs)": "1.24 G"},
    "08_data_parallel": {
        "workers": "64",
        "batch (samples)": "2048",
        "bandwidth (GB/s)": "10",
    },
    "07_efficiency": {
        "batch (samples)": "256",
        "latency (at most, ms)": "0.5",
        "memory (at most, MB)": "0.1",
    },
    "09_model_parallel": {
        "stages": "2",
        "micro-batches": "16",
        "chunks": "4",
        "backward (forwards)": "1.5",
        "message (forwards)": "0.25",
    },
}


@pytest.fixture(scope="module")
def course(chromium, tmp_path_factory):
    """A JupyterLab over a folder with the stored results, whose kernels run in size quick."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS / "results", folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELSCALE_SIZE", "quick")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))  # not the user's
        with jupyterlab(tmp_path_factory.mktemp("private"), folder) as lab:
            yield lab


@pytest.fixture
def open_course(course, opened):
    """`open_course(name)`: a `lab.Notebook` with a copy of that notebook, as if nobody ran it."""

    def open_(name):
        content = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        for cell in content.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        return opened(course, content, limit_s=400)

    return open_


@pytest.mark.parametrize("name", GROUPS)
def test_a_notebook_runs_and_its_explorer_follows_every_control(open_course, name):
    notebook = open_course(name)
    notebook.page.set_default_timeout(120_000)
    assert notebook.run_all() == []
    notebook.page.set_default_timeout(15_000)
    ran_in_size_quick(notebook)
    explorer = explorer_of(notebook.page)
    everything_is_named(explorer, name)
    press_buttons(explorer, GROUPS[name])
    choose_from_lists(explorer, LISTS[name])
    slide(explorer, LISTS[name])
    assert notebook.errors() == []


def ran_in_size_quick(notebook):
    texts = [
        out.get("text", "") for cell in notebook.save().cells for out in cell.get("outputs", [])
    ]
    assert any("modelscale: size quick" in text for text in texts)


def explorer_of(page):
    """The one widget of the page with a list to choose from, as soon as it has its picture."""
    explorer = page.locator(".jp-OutputArea-output .widget-vbox").filter(
        has=page.locator(".widget-dropdown")
    )
    explorer.locator(".widget-html img").wait_for()
    explorer.scroll_into_view_if_needed()
    assert explorer.count() == 1
    return explorer


def everything_is_named(explorer, name):
    """Each button and list, and the picture, can be found by a name; a slider's list has it."""
    for group, kinds in zip(button_groups(explorer), GROUPS[name], strict=True):
        assert sorted(group.get_by_role("button").all_text_contents()) == sorted(kinds)
        for kind in kinds:
            assert group.get_by_role("button", name=kind, exact=True).count() == 1
    for label in LISTS[name]:
        assert explorer.get_by_role("combobox", name=label, exact=True).count() == 1
    assert explorer.get_by_role("button").count() == sum(map(len, GROUPS[name]))
    assert explorer.get_by_role("combobox").count() == len(LISTS[name])
    assert explorer.get_by_role("slider").count() == len(LISTS[name])
    assert explorer.get_by_role("img", name=words(explorer), exact=True).count() == 1


def button_groups(explorer):
    return explorer.locator(".widget-toggle-buttons").all()


def press_buttons(explorer, groups):
    for group, kinds in zip(button_groups(explorer), groups, strict=True):
        for kind in kinds:
            with moved(explorer, kind):
                group.get_by_role("button", name=kind, exact=True).focus()
                explorer.page.keyboard.press("Enter")


def choose_from_lists(explorer, lists):
    for label, value in lists.items():
        with moved(explorer, value):
            explorer.get_by_role("combobox", name=label, exact=True).select_option(value)


def slide(explorer, lists):
    """The slider is where the list put it, so one step leads to the value beside it."""
    for i, label in enumerate(lists):
        menu = explorer.get_by_role("combobox", name=label, exact=True)
        texts = menu.locator("option").all_inner_texts()
        values = [text.replace("\xa0", " ") for text in texts]  # so that no line breaks
        at = values.index(menu.input_value())
        step, key = (1, "ArrowRight") if at == 0 else (-1, "ArrowLeft")
        with moved(explorer, values[at + step]):
            explorer.get_by_role("slider").nth(i).focus()
            explorer.page.keyboard.press(key)
        assert menu.input_value() == values[at + step]


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
