"""The course's notebooks keep the house's rules, and each rule is seen to catch what it forbids."""

import json
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import lint_notebooks
from lint_links import anchors, broken_links

ROOT = Path(__file__).resolve().parent.parent
WORDS = "Eight words of prose stand here, in order. "
REASON = {"tags": ["nbval-ignore-output"], "modelscale": {"ignored_because": "a measured time"}}
TITLE = "# One\n\nRuns in about 10 s.\n"


def test_every_notebook_keeps_the_rules():
    messages = lint_notebooks.lint_course(ROOT)
    assert not messages, "\n" + "\n".join(messages)


def test_a_good_notebook_has_no_offence(tmp_path):
    assert lint(tmp_path, good()) == []


def good():
    """A notebook that keeps every rule."""
    cells = [
        new_markdown_cell(TITLE + WORDS),
        code("import modelscale\n\nseed = 0\nmodelscale.start()"),
        new_markdown_cell(
            WORDS + "[below](#Scale-up), [itself](one.ipynb#Summary), [out](https://a.b)"
        ),
        code("figure()", 2, [picture()], REASON),
        new_markdown_cell("The curve falls.\n\n## Exercises\n\n" + WORDS),
        new_markdown_cell("## Summary\n\n## Scale up\n\n## References"),
    ]
    return new_notebook(cells=cells)


def code(source, count=1, outputs=(), metadata=None):
    """A code cell that ran."""
    return new_code_cell(
        source, execution_count=count, outputs=list(outputs), metadata=metadata or {}
    )


def picture():
    """An output with a picture."""
    return new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"})


def stream(text, name="stdout"):
    """An output with printed text."""
    return new_output("stream", name=name, text=text)


def lint(folder, notebook, runtimes_s=None):
    """The offences of a notebook, saved as one.ipynb."""
    path = folder / "one.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    return lint_notebooks.lint(
        path, {"one": {"default": 9.0}} if runtimes_s is None else runtimes_s
    )


# Each of these breaks one rule of a good notebook.


def set_count(n):
    n.cells[1].execution_count = 3


def add_error(n):
    n.cells[1].outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


def add_stderr(n):
    n.cells[1].outputs = [stream("a warning", "stderr")]


def add_widget_state(n):
    n.metadata["widgets"] = {}


def add_timestamps(n):
    n.cells[1].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}


def drop_prose(n):
    del n.cells[2]


def lengthen_cell(n):
    n.cells[1].source += "\n" * 30 + "x = 1"


def lengthen_many_cells(n):
    n.cells[1].source += "\n" * 18 + "x = 1"


def widen_line(n):
    n.cells[1].source += "\nx = '" + "a" * 88 + "'"


def drop_description(n):
    n.cells[4].source = "## Exercises\n\n" + WORDS


def drop_reason(n):
    n.cells[3].metadata = {"tags": ["nbval-ignore-output"]}


def compare_picture(n):
    n.cells[3].metadata = {}


def edit_sys_path(n):
    n.cells[1].source += "\nimport sys\nsys.path.append('..')"


def install(n):
    n.cells[1].source += "\n%pip install torch"


def install_by_shell(n):
    n.cells[1].source += "\n!python -m pip install torch"


def open_absolute_path(n):
    n.cells[1].source += "\nopen('/tmp/results.json')"


def print_home(n):
    n.cells[1].outputs = [stream("cached in /home/ann/.cache")]


def second_title(n):
    n.cells[4].source += "\n\n# Two"


def drop_start(n):
    n.cells[1].source = "import modelscale"


def drop_summary(n):
    n.cells[5].source = "## Scale up\n\n## References"


def drop_scale_up(n):
    n.cells[5].source = "## Summary\n\n## References"
    n.cells[2].source = WORDS


def drop_references(n):
    n.cells[5].source = "## Summary\n\n## Scale up"


def drop_exercises(n):
    n.cells[4].source = "The curve falls. " + WORDS


def write_little(n):
    n.cells[1].source += "\nx = 1" * 6


def write_much(n):
    n.cells[4].source += WORDS * 5


def break_anchor(n):
    n.cells[2].source += " [no](#Nowhere)"


def break_file_link(n):
    n.cells[2].source += " ![no](figures/none.png)"


def break_anchor_elsewhere(n):
    n.cells[2].source += " [no](one.ipynb#Nowhere)"


def drop_runtime(n):
    n.cells[0].source = "# One\n\n" + WORDS


def change_runtime(n):
    n.cells[0].source = "# One\n\nRuns in about 20 s.\n" + WORDS


def grow_file(n):
    n.cells[3].outputs[0].data["image/png"] = "a" * 2_500_000


def write_on_and_on(n):
    n.cells[2].source += " word" * 2500


def add_cells(n):
    n.cells[4:4] = [cell for i in range(3, 37) for cell in (new_markdown_cell("x"), code("x", i))]


def claim_much(n):
    n.cells[1].outputs = [stream("✔ a claim (1)\n" * 13)]


def claim_what_does_not_hold(n):
    n.cells[1].outputs = [stream("✘ deeper wins (0.5 against 0.6)")]


OFFENCES = [
    (write_on_and_on, "words, at most 2,500 in one sitting"),
    (add_cells, "36 code cells, at most 35 in one sitting"),
    (claim_much, "13 claims, at most 12"),
    (claim_what_does_not_hold, "a claim that does not hold is stored: ✘ deeper wins"),
    (set_count, "execution count 3, not 1"),
    (add_error, "an error output (ValueError)"),
    (add_stderr, "output on stderr"),
    (add_widget_state, "widget state is saved"),
    (add_timestamps, "timestamps are saved"),
    (drop_prose, "no markdown cell before"),
    (lengthen_cell, "34 lines of code, at most 30"),
    (lengthen_many_cells, "over 20 lines, at most 10 %"),
    (widen_line, "94 characters a line, at most 88"),
    (drop_description, "no sentence under its figure"),
    (drop_reason, "without metadata.modelscale.ignored_because"),
    (compare_picture, "a picture in a cell whose output is compared"),
    (edit_sys_path, "sys.path"),
    (install, "pip: a package"),
    (install_by_shell, "pip: a package"),
    (open_absolute_path, "an absolute path, '/tmp"),
    (print_home, "names a home directory, /home/a"),
    (second_title, "H1 headings"),
    (drop_start, "no cell calls modelscale.start"),
    (drop_summary, "no section '## Summary'"),
    (drop_scale_up, "no section '## Scale up'"),
    (drop_references, "no section '## References'"),
    (drop_exercises, "no section '## Exercises'"),
    (write_little, "words for 10 lines of code"),
    (write_much, "words for 4 lines of code"),
    (break_anchor, "the link #Nowhere leads nowhere"),
    (break_file_link, "the link figures/none.png leads nowhere"),
    (break_anchor_elsewhere, "the link one.ipynb#Nowhere leads nowhere"),
    (drop_runtime, "no line 'Runs in about N s'"),
    (change_runtime, "'Runs in about 20 s', but 9.0 s were measured"),
    (grow_file, "the file has 2.5 MB"),
]


@pytest.mark.parametrize(
    ("spoil", "message"), OFFENCES, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_rule_catches_what_it_forbids(tmp_path, spoil, message):
    notebook = good()
    spoil(notebook)
    assert any(message in found for found in lint(tmp_path, notebook)), lint(tmp_path, notebook)


def test_a_notebook_without_recorded_time_is_an_offence(tmp_path):
    assert any("runtimes.json has no default time" in m for m in lint(tmp_path, good(), {}))


def test_solutions_need_no_sections_and_no_times(tmp_path):
    folder = tmp_path / "solutions"
    folder.mkdir()
    notebook = new_notebook(cells=[new_markdown_cell("# One: solutions"), code("x = 1")])
    assert lint(folder, notebook, {}) == []
    set_count(notebook)
    assert lint(folder, notebook, {}) != []


def test_a_message_names_notebook_and_cell(tmp_path):
    notebook = good()
    add_stderr(notebook)
    assert lint(tmp_path, notebook)[0].startswith(f"{tmp_path.name}/one.ipynb, cell 1: ")


def test_code_in_markdown_has_no_headings_and_no_links(tmp_path):
    notebook = new_notebook(
        cells=[new_markdown_cell("## Two\n```\n# no [a](b.md)\n```\n<a id='x'>")]
    )
    assert anchors(notebook) == {"Two", "x"}
    assert list(broken_links(notebook, tmp_path / "one.ipynb")) == []
