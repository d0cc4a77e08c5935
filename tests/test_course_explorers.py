"""Proves that every explorer answers every control: in picture, in words, unfailingly.

What each is started with, and what it must say somewhere, stands in tests/answers: `EXPLORER`, a
function that makes it in a state where every control counts, and `SHOWN`, places and their words.
"""

from pathlib import Path

import nbformat
import pytest

from test_course_exercises import NOTEBOOKS, TABLES

EXPLORERS = {name: made.EXPLORER for name, made in TABLES.items() if hasattr(made, "EXPLORER")}
SHOWN = [
    pytest.param(name, place, words, id=f"{name}-{i}")
    for name in EXPLORERS
    for i, (place, words) in enumerate(TABLES[name].SHOWN)
]


def values_of(control):
    """The values that a control of an explorer can take."""
    options = getattr(control, "values", None) or control.options
    return [option[1] if isinstance(option, tuple) else option for option in options]


@pytest.mark.parametrize("name", EXPLORERS)
def test_every_value_of_every_control_has_its_own_words_and_picture(name):
    explorer = EXPLORERS[name]()
    for control in explorer.controls.values():
        first, seen = control.value, []
        for value in values_of(control):
            control.value = value
            assert explorer.error.value == ""
            assert explorer.image.value.count(explorer.text) == 2  # alt text, and the line below
            seen.append((explorer.text, explorer.picture.png))
        assert len(dict(seen)) == len(seen) > 1 and len(dict(map(reversed, seen))) == len(seen)
        control.value = first


@pytest.mark.parametrize(("name", "place", "words"), SHOWN)
def test_a_place_says_what_was_computed_or_stored_there(name, place, words):
    explorer = EXPLORERS[name]()
    for control, value in place.items():
        explorer.controls[control].value = value
    for part in [words] if isinstance(words, str) else words:
        assert part in explorer.text


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_saved_notebook_holds_the_picture_and_constant_words(name):
    explorer = EXPLORERS[name]()
    first = explorer._repr_mimebundle_()
    control = next(iter(explorer.controls.values()))
    control.value = next(v for v in values_of(control) if v != control.value)
    later = explorer._repr_mimebundle_()
    assert first["text/plain"] == later["text/plain"] and first["image/png"] != later["image/png"]


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_cells_tagged_explorer_are_the_set_up_and_show_it(name):
    """The browser runs these alone."""
    path = next(Path(NOTEBOOKS).glob(f"[0-9][0-9]_{name}.ipynb"))
    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell for cell in cells if "explorer" in cell.metadata.get("tags", [])]
    assert "modelscale.start(" in tagged[0].source
    assert any("Interactive figure" in str(out.get("data")) for out in tagged[-1].outputs)
