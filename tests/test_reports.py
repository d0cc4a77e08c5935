"""A failing notebook names its cell and shows the difference; warnings are errors; no browser is a
reason to skip, and a failure where one is required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
BROWSER_TEST = "import pytest\n\n@pytest.mark.browser\ndef test_page():\n    pass\n"
WARNING = "import warnings\n\ndef test_it():\n    warnings.warn('no', stacklevel=1)\n"


@pytest.fixture
def run_pytest(tmp_path):
    """What plain `python -m pytest` prints in a small course with these settings."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "notebooks").mkdir()
    for name in ("pyproject.toml", "nbval.cfg"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")

    def run(**variables):
        return subprocess.run(
            [sys.executable, "-m", "pytest"],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    run.folder = tmp_path
    return run


def test_a_failure_names_its_cell_and_shows_the_difference(run_pytest):
    stored = new_output("stream", name="stdout", text="layers 5\n")
    cells = [
        new_code_cell("print('layers', 4)", execution_count=1, outputs=[stored]),
        new_code_cell("1 / 0", execution_count=2),
    ]
    nbformat.write(new_notebook(cells=cells), run_pytest.folder / "notebooks" / "00_a.ipynb")
    (run_pytest.folder / "tests" / "test_it.py").write_text(WARNING, "utf-8")
    said = run_pytest()
    assert "notebooks/00_a.ipynb::Cell 0" in said
    assert "- layers 4" in said
    assert "+ layers 5" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "\x1b" not in said
    assert "UserWarning: no" in said
    assert "3 failed in" in said.splitlines()[-1]


def test_no_browser_is_a_skip_and_a_failure_where_one_is_required(run_pytest):
    (run_pytest.folder / "tests" / "test_page.py").write_text(BROWSER_TEST, "utf-8")
    said = run_pytest(CHROMIUM="nowhere", MODELSCALE_REQUIRE_BROWSER="")
    assert "1 skipped" in said.splitlines()[-1]
    assert "no Chromium: install chromium" in said
    said = run_pytest(CHROMIUM="nowhere", MODELSCALE_REQUIRE_BROWSER="1")
    assert "1 error in" in said.splitlines()[-1]
    assert "MODELSCALE_REQUIRE_BROWSER=1, and there is no Chromium" in said
