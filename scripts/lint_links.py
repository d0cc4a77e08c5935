"""The markdown of a notebook as readers see it: prose, headings, and links that lead nowhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat

FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"""\]\(<?([^)\s>]+)|\b(?:href|src)=["']([^"']+)""")
ELSEWHERE = ("http://", "https://", "mailto:", "attachment:", "data:")


def prose(notebook) -> list[tuple[int, str]]:
    """(cell index, text) of the markdown cells, without fenced code and HTML tags."""
    cells = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    return [(i, re.sub(r"<[^<>]+>", " ", FENCED.sub("", cell.source))) for i, cell in cells]


def headings(notebook) -> list[tuple[int, int, str]]:
    """(cell index, level, text) of every heading."""
    lines = [(i, line) for i, text in prose(notebook) for line in text.splitlines()]
    found = [(i, re.match(r"(#{1,6}) +(.+?)[ #]*$", line)) for i, line in lines]
    return [(i, len(match[1]), match[2]) for i, match in found if match]


def anchors(notebook) -> set[str]:
    """What #links can point at: headings as JupyterLab names them, and ids given in HTML."""
    named = {re.sub(r"[`*]", "", title).replace(" ", "-") for _, _, title in headings(notebook)}
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return named | set(re.findall(r"""\bid=["']([^"']+)""", "\n".join(sources)))


def broken_links(notebook, path: Path) -> Iterator[str]:
    """Relative links to files that are not there, and to headings that are not there."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            continue
        for match in LINK.finditer(FENCED.sub("", cell.source)):
            target = match[1] or match[2]
            if not target.startswith(ELSEWHERE) and not _resolves(unquote(target), notebook, path):
                yield f"cell {index}: the link {target} leads nowhere"


def _resolves(target, notebook, path):
    name, _, anchor = target.partition("#")
    there = path.parent / name
    if name and (Path(name).is_absolute() or not there.exists()):
        return False
    if name and anchor and there.suffix == ".ipynb":
        notebook = nbformat.read(there, as_version=4)
    return not anchor or (bool(name) and there.suffix != ".ipynb") or anchor in anchors(notebook)
