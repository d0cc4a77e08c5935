"""`make notebooks` uses fresh kernels, keeps outputs and counts, drops what differs each time."""

import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import notebooks

HOLD_64_MIB = "held = bytearray(b'x' * 2**26); import time; time.sleep(1)"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A course of two notebooks and a solution, where the script finds them."""
    solutions = tmp_path / "notebooks" / "solutions"
    solutions.mkdir(parents=True)
    for name in ("01_b.ipynb", "00_a.ipynb", "solutions/00_a.ipynb"):
        write(solutions.parent / name, new_code_cell("print('ran'); 6 * 7"), new_markdown_cell("x"))
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MODELSCALE_SIZE", "default")
    return solutions.parent


def write(path, *cells):
    """Saves a notebook as JupyterLab leaves it: a fresh one, run by nobody."""
    nbformat.write(new_notebook(cells=list(cells)), path)


def test_all_in_order_or_those_named(folder):
    names = [path.relative_to(folder).as_posix() for path in notebooks.find(folder)]
    assert names == ["00_a.ipynb", "01_b.ipynb", "solutions/00_a.ipynb"]
    assert [path.name for path in notebooks.find(folder, ["01_b"])] == ["01_b.ipynb"]
    assert len(notebooks.find(folder, ["00_a"])) == 2


def test_a_name_that_is_not_there_is_an_error(folder, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "run", lambda *_, **__: True)
    assert notebooks.main(["--only", "00_a", "typo"]) == 1
    assert capsys.readouterr().out == "notebooks: none to run called typo\n"


def test_a_run_is_saved_clean_and_the_same_each_time(folder, capsys):
    assert notebooks.main(["--only", "01_b"]) == 0
    path = folder / "01_b.ipynb"
    first = path.read_bytes()
    cell = json.loads(first)["cells"][0]
    assert cell["execution_count"] == 1
    assert [output["output_type"] for output in cell["outputs"]] == ["stream", "execute_result"]
    assert cell["metadata"] == {}
    assert re.search(r"/01_b.ipynb: [\d.]+ s, \d+ MiB at its peak\n", capsys.readouterr().out)
    assert notebooks.main(["--only", "01_b.ipynb"]) == 0
    assert path.read_bytes() == first
    assert not list(folder.glob("*.part"))


def test_check_writes_nothing_and_size_reaches_the_kernel(folder):
    path = folder / "01_b.ipynb"
    write(path, new_code_cell("import os; assert os.environ['MODELSCALE_SIZE'] == 'quick'"))
    before = path.read_bytes()
    assert notebooks.main(["--only", "01_b", "--check", "--size", "quick"]) == 0
    assert path.read_bytes() == before


def test_the_first_error_names_its_cell_and_stops_everything(folder, capsys):
    path = folder / "00_a.ipynb"
    write(path, new_code_cell("1"), new_markdown_cell("x"), new_code_cell("y = 1 / 0"))
    before = path.read_bytes()
    assert notebooks.main([]) == 1
    said = capsys.readouterr().out
    assert re.search(r"00_a.ipynb: FAILED in cell 2 \(id .*\):\ny = 1 / 0\n", said)
    assert "ZeroDivisionError: division by zero" in said
    assert "\x1b" not in said
    assert "01_b" not in said
    assert path.read_bytes() == before


def test_memory_of_processes_below_the_kernel_counts(folder):
    def peak(source):
        return notebooks.execute(new_notebook(cells=[new_code_cell(source)]), folder)

    command = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD_64_MIB!r}])"
    assert peak(command) - peak("1") > 60 * 2**20


def test_clean_keeps_what_is_told_and_drops_what_differs():
    data = {"image/png": "aGVsbG8=", "text/plain": "alt", notebooks.WIDGET: {"model_id": "1f"}}
    outputs = [new_output("display_data", data=data)]
    kept = {"tags": ["nbval-ignore-output"], "modelscale": {"ignored_because": "a time"}}
    cell = new_code_cell(
        "1", execution_count=3, outputs=outputs, metadata={**kept, "execution": {}}
    )
    notebook = new_notebook(
        cells=[cell], metadata={"widgets": {}, "language_info": {"name": "python", "version": "3"}}
    )
    identity = cell.id
    cleaned = notebooks.clean(notebook)
    assert cleaned.metadata == {
        "kernelspec": notebooks.KERNEL,
        "language_info": notebooks.LANGUAGE,
    }
    assert cleaned.cells[0].metadata == kept
    assert set(cleaned.cells[0].outputs[0].data) == {"image/png", "text/plain"}
    assert (cleaned.cells[0].id, cleaned.cells[0].execution_count) == (identity, 3)


def test_the_file_is_indented_and_sorted_and_ends_its_last_line(tmp_path):
    path = tmp_path / "a.ipynb"
    notebooks.save(new_notebook(cells=[new_markdown_cell("größer")]), path)
    text = path.read_text("utf-8")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
