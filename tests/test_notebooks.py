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


def lint(folder, notebook, runtimes_s=None):
    """The offences of a notebook, saved as one.ipynb."""
    path = folder / "one.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    return lint_notebooks.lint(
        path, {"one": {"default": 9.0}} if runtimes_s is None else runtimes_s
    )


def change(i, **values):
    """A mistake: cell `i` with other values."""
    return lambda n: n.cells[i].update(values)


def add(i, text):
    """A mistake: `text` at the end of cell `i`."""
    return lambda n: n.cells[i].update(source=n.cells[i].source + text)


def output(**values):
    """A mistake: this output of cell 1."""
    return change(1, outputs=[new_output(**values)])


def printed(text, name="stdout"):
    """A mistake: cell 1 prints this."""
    return output(output_type="stream", name=name, text=text)


def add_cells(n):
    """35 cells of code, each under one of prose."""
    n.cells[4:4] = [cell for i in range(3, 37) for cell in (new_markdown_cell("x"), code("x", i))]


def drop_scale_up(n):
    """No section and no link to it."""
    change(5, source="## Summary\n\n## References")(n)
    change(2, source=WORDS)(n)


OFFENCES = [  # each breaks one rule of a good notebook
    (add(2, " word" * 2500), "words, at most 2,500 in one sitting"),
    (add_cells, "36 code cells, at most 35 in one sitting"),
    (printed("✔ a claim (1)\n" * 13), "13 claims, at most 12"),
    (printed("✘ deeper wins (0.5)"), "a claim that does not hold is stored: ✘ deeper wins"),
    (change(1, execution_count=3), "execution count 3, not 1"),
    (output(output_type="error", ename="ValueError"), "an error output (ValueError)"),
    (printed("a warning", "stderr"), "output on stderr"),
    (lambda n: n.metadata.update(widgets={}), "widget state is saved"),
    (change(1, metadata={"execution": {"iopub.execute_input": "2026"}}), "timestamps are saved"),
    (lambda n: n.cells.pop(2), "no markdown cell before"),
    (add(1, "\n" * 30 + "x = 1"), "34 lines of code, at most 30"),
    (add(1, "\n" * 18 + "x = 1"), "over 20 lines, at most 10 %"),
    (add(1, "\nx = '" + "a" * 88 + "'"), "94 characters a line, at most 88"),
    (change(4, source="## Exercises\n\n" + WORDS), "no sentence under its figure"),
    (change(3, metadata={"tags": REASON["tags"]}), "without metadata.modelscale.ignored_because"),
    (change(3, metadata={}), "a picture in a cell whose output is compared"),
    (add(1, "\nimport sys\nsys.path.append('..')"), "sys.path"),
    (add(1, "\n%pip install torch"), "pip: a package"),
    (add(1, "\n!python -m pip install torch"), "pip: a package"),
    (add(1, "\nopen('/tmp/results.json')"), "an absolute path, '/tmp"),
    (printed("cached in /home/ann/.cache"), "names a home directory, /home/a"),
    (add(4, "\n\n# Two"), "H1 headings"),
    (change(1, source="import modelscale"), "no cell calls modelscale.start"),
    (change(5, source="## Scale up\n\n## References"), "no section '## Summary'"),
    (drop_scale_up, "no section '## Scale up'"),
    (change(5, source="## Summary\n\n## Scale up"), "no section '## References'"),
    (change(4, source="The curve falls. " + WORDS), "no section '## Exercises'"),
    (add(1, "\nx = 1" * 6), "words for 10 lines of code"),
    (add(4, WORDS * 5), "words for 4 lines of code"),
    (add(2, " [no](#Nowhere)"), "the link #Nowhere leads nowhere"),
    (add(2, " ![no](figures/none.png)"), "the link figures/none.png leads nowhere"),
    (add(2, " [no](one.ipynb#Nowhere)"), "the link one.ipynb#Nowhere leads nowhere"),
    (change(0, source="# One\n\n" + WORDS), "no line 'Runs in about N s'"),
    (change(0, source=TITLE.replace("10", "20") + WORDS), "'Runs in about 20 s', but 9.0 s were"),
    (
        lambda n: n.cells[3].outputs[0].data.update({"image/png": "a" * 2_500_000}),
        "the file has 2.5 MB",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), OFFENCES, ids=[message for _, message in OFFENCES])
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
    change(1, execution_count=3)(notebook)
    assert lint(folder, notebook, {}) != []


def test_a_message_names_notebook_and_cell(tmp_path):
    notebook = good()
    printed("a warning", "stderr")(notebook)
    assert lint(tmp_path, notebook)[0].startswith(f"{tmp_path.name}/one.ipynb, cell 1: ")


def test_code_in_markdown_has_no_headings_and_no_links(tmp_path):
    notebook = new_notebook(
        cells=[new_markdown_cell("## Two\n```\n# no [a](b.md)\n```\n<a id='x'>")]
    )
    assert anchors(notebook) == {"Two", "x"}
    assert list(broken_links(notebook, tmp_path / "one.ipynb")) == []
