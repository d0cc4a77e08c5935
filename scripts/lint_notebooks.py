"""What is not right in a notebook: each rule is a function that yields one message per offence.

    python scripts/lint_notebooks.py        prints those of the whole course; exits 1 if any

`RULES` hold everywhere; `COURSE_RULES` not in solutions/, which hold the solved exercises alone.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from lint_links import broken_links, headings, prose
from modelscale.course.claims import FAILED, HELD

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX, LINES_LONG, LONG_SHARE, WIDTH = 30, 20, 0.10, 88
WORDS_PER_LINE = (5, 12)
WORDS_MAX, CELLS_MAX, CLAIMS_MAX = 2500, 35, 12  # one sitting
BYTES_MAX = 2.5e6
IGNORE = "nbval-ignore-output"
HOME = re.compile(r"/home/\w|/Users/\w|/root\b|[A-Za-z]:\\+Users\\")
ABSOLUTE = re.compile(
    r"""["'](?:/(?:home|root|Users|tmp|usr|var|opt|etc|mnt|work|content|data)\b|[A-Za-z]:[\\/]|~/)"""
)
PIP = re.compile(r"^\s*[%!]\s*(?:pip|conda|uv)\b|\bpip3?\b.*\binstall\b", re.MULTILINE)


def lint(path: Path, runtimes_s: dict) -> list[str]:
    """Every offence of the notebook at `path`, as "notebook, cell: what"."""
    notebook = nbformat.read(path, as_version=4)
    course = path.parent.name != "solutions"
    found = [m for rule in RULES + (COURSE_RULES if course else []) for m in rule(notebook)]
    found += broken_links(notebook, path)
    found += file_size(path.stat().st_size)
    found += runtime_line(notebook, path.stem, runtimes_s) if course else []
    found += one_sitting(notebook) if course else []
    return [f"{path.parent.name}/{path.name}, {message}" for message in found]


def main() -> int:
    """0 if nothing is wrong in the course, else 1."""
    messages = lint_course(ROOT)
    print("\n".join(messages) or "All notebooks are as they should be.")
    return 1 if messages else 0


def lint_course(root: Path) -> list[str]:
    """Every offence in the notebooks of a checkout."""
    recorded = root / "modelscale" / "runtimes.json"
    runtimes_s = json.loads(recorded.read_text("utf-8")) if recorded.exists() else {}
    paths = sorted((root / "notebooks").glob("**/[!.]*.ipynb"))
    paths = [path for path in paths if ".ipynb_checkpoints" not in path.parts]
    return [message for path in paths for message in lint(path, runtimes_s)]


def counts_in_order(notebook) -> Iterator[str]:
    """Execution counts that are not 1..n."""
    for wanted, (index, cell) in enumerate(_code(notebook), 1):
        if cell.execution_count != wanted:
            yield f"cell {index}: execution count {cell.execution_count}, not {wanted}: run all"
            return


def clean_outputs(notebook) -> Iterator[str]:
    """Error outputs, and anything on stderr."""
    for index, output in _outputs(notebook):
        if output.output_type == "error":
            yield f"cell {index}: an error output ({output.ename})"
        elif output.get("name") == "stderr":
            yield f"cell {index}: output on stderr: {_text(output)[:60]!r}"


def no_saved_state(notebook) -> Iterator[str]:
    """Widget state, and timestamps of cells."""
    if "widgets" in notebook.metadata:
        yield "metadata: widget state is saved: make notebooks drops it"
    for index, cell in enumerate(notebook.cells):
        if "execution" in cell.metadata:
            yield f"cell {index}: timestamps are saved: make notebooks drops them"


def prose_first(notebook) -> Iterator[str]:
    """Code cells without a markdown cell before them."""
    for index, _ in _code(notebook):
        if index == 0 or notebook.cells[index - 1].cell_type != "markdown":
            yield f"cell {index}: no markdown cell before this code cell"


def code_is_short(notebook) -> Iterator[str]:
    """Cells of more than 30 lines, more than 10 % of cells over 20, lines over 88 characters."""
    lines = {index: cell.source.splitlines() for index, cell in _code(notebook)}
    for index, source in lines.items():
        if len(source) > LINES_MAX:
            yield f"cell {index}: {len(source)} lines of code, at most {LINES_MAX}"
        for line in source:
            if len(line) > WIDTH:
                yield f"cell {index}: {len(line)} characters a line, at most {WIDTH}: {line[:30]}"
    long = [index for index, source in lines.items() if len(source) > LINES_LONG]
    if len(long) > LONG_SHARE * len(lines):
        yield f"cells {long}: over {LINES_LONG} lines, at most 10 % of {len(lines)} may be"


def figures_described(notebook) -> Iterator[str]:
    """Pictures that no sentence follows (a heading is none)."""
    for index in {i for i, output in _outputs(notebook) if "image/png" in output.get("data", {})}:
        below = notebook.cells[index + 1 : index + 2]
        text = below[0].source.strip() if below and below[0].cell_type == "markdown" else "#"
        if not text or text.startswith("#"):
            yield f"cell {index}: no sentence under its figure: say there what to see"


def ignored_with_reason(notebook) -> Iterator[str]:
    """Cells whose output is not compared, without a reason; pictures in cells that are compared."""
    for index, cell in _code(notebook):
        ignored = IGNORE in cell.metadata.get("tags", [])
        if ignored and not cell.metadata.get("modelscale", {}).get("ignored_because"):
            yield f"cell {index}: tagged {IGNORE}, without metadata.modelscale.ignored_because"
        if not ignored and any("image/png" in output.get("data", {}) for output in cell.outputs):
            yield f"cell {index}: a picture in a cell whose output is compared: tag it {IGNORE}"


def no_trace_of_machine(notebook) -> Iterator[str]:
    """sys.path edits, pip, absolute paths in code; home directories in outputs."""
    for index, cell in _code(notebook):
        if "sys.path" in cell.source:
            yield f"cell {index}: sys.path: modelscale is installed, no path is needed"
        if PIP.search(cell.source):
            yield f"cell {index}: pip: a package belongs into pyproject.toml"
        if match := ABSOLUTE.search(cell.source):
            yield f"cell {index}: an absolute path, {match[0]}..."
    for index, output in _outputs(notebook):
        if match := HOME.search(_text(output)):
            yield f"cell {index}: an output names a home directory, {match[0]}..."


def has_sections(notebook) -> Iterator[str]:
    """Missing parts: one H1, in the first cell; the call of start; the closing sections."""
    titles = [(i, title) for i, level, title in headings(notebook) if level == 1]
    if [i for i, _ in titles] != [0]:
        yield f"H1 headings {titles}: one, in the first cell"
    if not any("modelscale.start(" in cell.source for _, cell in _code(notebook)):
        yield "no cell calls modelscale.start"
    sections = [title for _, level, title in headings(notebook) if level == 2]
    for wanted in ("Summary", "Scale up", "References"):
        if wanted not in sections:
            yield f"no section '## {wanted}'"
    if not any(title.startswith("Exercise") for title in sections):
        yield "no section '## Exercises'"


def prose_and_code(notebook) -> Iterator[str]:
    """A notebook with fewer than 5 or more than 12 words of prose per line of code."""
    code = sum(
        1 for _, cell in _code(notebook) for line in cell.source.splitlines() if _counts(line)
    )
    words = sum(len(re.findall(r"\S*\w\S*", text)) for _, text in prose(notebook))
    low, high = WORDS_PER_LINE
    if code and not low <= words / code <= high:
        yield f"{words} words for {code} lines of code: {words / code:.1f}, not {low} to {high}"


def one_sitting(notebook) -> Iterator[str]:
    """A notebook that is longer than a sitting, claims too much, or claims what does not hold."""
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    claims = [line for _, out in _outputs(notebook) for line in _text(out).splitlines()]
    claims = [line for line in claims if line.startswith((HELD, FAILED))]
    for what, n, most in (
        ("words", words, WORDS_MAX),
        ("code cells", len(_code(notebook)), CELLS_MAX),
        ("claims", len(claims), CLAIMS_MAX),
    ):
        if n > most:
            yield f"{n:,} {what}, at most {most:,} in one sitting"
    for line in claims:
        if line.startswith(FAILED):
            yield f"a claim that does not hold is stored: {line}"


def runtime_line(notebook, stem: str, runtimes_s: dict) -> Iterator[str]:
    """A first cell whose "Runs in about N s" is missing, or over 50 % from the recorded time."""
    first = notebook.cells[0].source if notebook.cells else ""
    said = re.search(r"Runs in about (\d+) s\b", first)
    if not said:
        yield "cell 0: no line 'Runs in about N s'"
    elif not runtimes_s.get(stem, {}).get("default"):
        yield f"modelscale/runtimes.json has no default time for {stem}"
    elif not 0.5 <= int(said[1]) / runtimes_s[stem]["default"] <= 1.5:
        yield f"cell 0: '{said[0]}', but {runtimes_s[stem]['default']} s were measured"


def file_size(n_bytes: int) -> Iterator[str]:
    """A file that is too large."""
    if n_bytes >= BYTES_MAX:
        yield f"the file has {n_bytes / 1e6:.1f} MB, at most {BYTES_MAX / 1e6} MB"


RULES = [
    counts_in_order,
    clean_outputs,
    no_saved_state,
    prose_first,
    code_is_short,
    figures_described,
    ignored_with_reason,
    no_trace_of_machine,
]
COURSE_RULES = [has_sections, prose_and_code]


def _code(notebook):
    return [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def _outputs(notebook):
    return [(i, output) for i, cell in _code(notebook) for output in cell.outputs]


def _text(output):
    data = output.get("data", {})
    texts = [output.get("text", ""), *(v for k, v in data.items() if not k.startswith("image/png"))]
    return "\n".join(text if isinstance(text, str) else json.dumps(text) for text in texts)


def _counts(line):
    return bool(line.strip()) and not line.lstrip().startswith("#")


if __name__ == "__main__":
    sys.exit(main())
