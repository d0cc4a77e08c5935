"""What is not right in the package: it stays small, and each public name has users.

    python scripts/lint_package.py          prints each offence; exits 1 if there is any

A public function or class outside `course/` has at least two consumers: other modules, notebooks,
experiments, benchmarks (not tests, not solutions). What one notebook uses stands in that notebook.
"""

import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 9_900  # of the whole package, with the notebooks 00 to 16
FILE_MAX = 300
CONSUMERS_MIN = 2
NOT_NOUN = re.compile(r"^(Nothing|None|Returns never)\b")
LAZY = {"modelscale": "modelscale.dial"}  # whose names it passes on when asked
EXCEPTIONS = {  # a module, or a name in it: why it may have fewer than two consumers
    "modelscale.count.memory.activation_bytes": "a contract",
    "modelscale.count.nets.mlp_params": "a contract",
    "modelscale.laws.forms.DataConstrainedLaw": "the type of a contract, MUENNIGHOFF_2023",
    "modelscale.dial.probe_s": "recorded by a benchmark, compared by the dial",
    "modelscale.models.gpt": "networks that models.build makes, and their parts",
    "modelscale.models.nets": "networks that models.build makes, and their parts",
    "modelscale.train.checkpoint": "a file format, kept apart from the loop that uses it",
    "modelscale.tuning.coordinates": "one concept, too long for its notebook",
    "modelscale.parallel.context": "what ranks import",
    "modelscale.parallel.expert": "what ranks import",
    "modelscale.parallel.zero": "what ranks import",
    "modelscale.parallel.data.refuse_missing": "what ranks import: for gradients and for buckets",
    "modelscale.parallel.schedule.Op": "what a schedule is made of",
    "modelscale.parallel.simulate.Span": "what a timeline is made of",
    "modelscale.parallel.entry": "a part of the launcher, and a command line",
    "modelscale.parallel.screen": "a part of the launcher",
    "modelscale.parallel.team": "a part of the launcher",
    "modelscale.parallel.worker": "a part of the launcher",
}


def main() -> int:
    """0 if nothing is wrong in the package, else 1."""
    messages = lint(ROOT)
    print("\n".join(messages) or "The package is as it should be.")
    return 1 if messages else 0


def lint(root: Path) -> list[str]:
    """Every offence of the package in a checkout."""
    sources = {module_name(path, root): path for path in sorted(root.glob("modelscale/**/*.py"))}
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in sources.items()}
    lines = {name: path.read_text("utf-8").count("\n") for name, path in sources.items()}
    return [*sizes(lines), *docstrings(trees), *lonely(trees, consumers(trees, root))]


def sizes(lines: dict[str, int]) -> Iterator[str]:
    """A package, or a file of it, that is too long."""
    if (total := sum(lines.values())) > LINES_MAX:
        yield f"modelscale has {total:,} lines, at most {LINES_MAX:,}: what can go?"
    for name, n in lines.items():
        if n > FILE_MAX:
            yield f"{name}: {n} lines, at most {FILE_MAX}"


def docstrings(trees: dict) -> Iterator[str]:
    """Public definitions without a docstring, and first lines that say nothing or drift."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            text = ast.get_docstring(node) or ""
            if NOT_NOUN.match(text):
                yield f"{name}.{node.name}: a procedure's docstring begins with an imperative"
            if "Taught in" in text:
                yield f"{name}.{node.name}: 'Taught in' drifts: leave it out"
        for node in public(tree):
            if not ast.get_docstring(node):
                yield f"{name}.{node.name}: public, without a docstring"


def lonely(trees: dict, used: dict) -> Iterator[str]:
    """Public names with fewer than two consumers, and exceptions that are needed no more."""
    needed = set()
    for name, tree in trees.items():
        for node in public(tree) if ".course" not in name else ():
            by = sorted(used[name, node.name])
            if len(by) >= CONSUMERS_MIN or in_signatures(node.name, tree):
                continue
            full = f"{name}.{node.name}"
            excepted = {name, full} & set(EXCEPTIONS)
            needed |= excepted
            if not excepted:
                yield f"{full}: used by {', '.join(by) or 'nothing'}: move it there, or drop it"
    for full in sorted(set(EXCEPTIONS) - needed):
        yield f"EXCEPTIONS[{full!r}] is not needed"


def in_signatures(name: str, tree: ast.Module) -> bool:
    """Whether a public function of the module takes or returns what is called so."""
    for node in public(tree):
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                hints = [part.returns, *(arg.annotation for arg in part.args.args)]
                texts = [ast.unparse(hint) for hint in hints if hint]
                if node.name != name and any(re.search(rf"\b{name}\b", text) for text in texts):
                    return True
    return False


def public(tree: ast.Module) -> list:
    """The public functions and classes of a module."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]


def consumers(trees: dict, root: Path) -> dict:
    """{(module, name): the files besides its own that use it}."""
    used = defaultdict(set)
    for user, tree in everything(trees, root):
        for module, name in uses(tree, user, trees):
            home = defined_in(module, name, trees)
            if home and home[0] != user:
                used[home].add(user)
    return used


def everything(trees: dict, root: Path) -> Iterator[tuple]:
    """(name, tree) of each module that is more than a list of names, script and notebook."""
    for name, tree in trees.items():
        if not is_package(name, trees):
            yield name, tree
    for folder in ("experiments", "benchmarks"):
        for path in sorted(root.glob(f"{folder}/*.py")):
            yield f"{folder}/{path.name}", ast.parse(path.read_text("utf-8"))
    for path in sorted(root.glob("notebooks/[0-9]*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = "\n".join(code).splitlines()
        yield path.name, ast.parse("\n".join(line for line in lines if line[:1] not in "%!"))


def uses(tree: ast.Module, user: str, trees: dict) -> Iterator[tuple[str, str]]:
    """(module, name) of what a file takes from modelscale."""
    bound = {"modelscale": "modelscale"}  # local name -> dotted one
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = absolute(node, user)
            for alias in node.names if source.split(".")[0] == "modelscale" else ():
                yield source, alias.name
                bound[alias.asname or alias.name] = f"{source}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname and alias.name.startswith("modelscale."):
                    bound[alias.asname] = alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (path := dotted(node.value)):
            first, _, rest = path.partition(".")
            if first in bound:
                yield ".".join(filter(None, (bound[first], rest))), node.attr


def absolute(node: ast.ImportFrom, user: str) -> str:
    """The dotted module that an import names, a relative one too."""
    if not node.level:
        return node.module or ""
    base = user.split(".")[: -node.level]
    return ".".join([*base, *filter(None, [node.module])])


def dotted(node) -> str | None:
    """`a.b` of such an expression, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (path := dotted(node.value)):
        return f"{path}.{node.attr}"
    return None


def defined_in(module: str, name: str, trees: dict) -> tuple[str, str] | None:
    """Where a name of a module is defined, through the packages that pass it on."""
    tree = trees.get(module)
    if tree is None:
        return None
    if any(node.name == name for node in public(tree)):
        return module, name
    here = module + ".__init__" if is_package(module, trees) else module
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            source = absolute(node, here)
            if (alias.asname or alias.name) == name and (source, alias.name) != (module, name):
                return defined_in(source, alias.name, trees)
    lazy = LAZY.get(module)
    there = lazy in trees and any(node.name == name for node in public(trees[lazy]))
    return (lazy, name) if there else None


def is_package(name: str, trees: dict) -> bool:
    """Whether a module is the __init__ of a package."""
    return any(other.startswith(f"{name}.") for other in trees)


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    sys.exit(main())
