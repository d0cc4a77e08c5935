"""pyproject.toml, constraints.txt and environment.yml agree, and declare all that is imported."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import modelscale

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED, TESTED, OPTIONAL = (
    {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}
    for lines in (PROJECT["dependencies"], EXTRAS["test"], EXTRAS["encoder"])
)
LINES = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = dict(line.split("==") for line in LINES if line and not line.startswith("#"))
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
PIP = next(entry["pip"] for entry in CONDA if isinstance(entry, dict))
MADE_FOR = ("modelscale", "tests", "scripts", "benchmarks", "experiments")


@pytest.mark.parametrize("name", sorted(NEEDED | TESTED | OPTIONAL))
def test_every_range_admits_the_tested_version(name):
    assert name in PINS, f"{name} has no tested version in constraints.txt"
    assert (NEEDED | TESTED | OPTIONAL)[name].specifier.contains(PINS[name])


def test_what_is_known_to_matter_is_pinned():
    assert PINS["torch"] == "2.13.0", "a local version such as +cpu would fit one build alone"
    assert NEEDED["ipykernel"].specifier == SpecifierSet(">=7.1,<7.4")


def test_pins_are_plain_versions_of_one_package_each():
    names = [line.split("==")[0] for line in LINES if line and not line.startswith("#")]
    assert names == sorted(map(canonicalize_name, names)), "sorted, in lower case, with dashes"
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in PINS.values())


def test_what_installs_is_what_was_tested():
    """In the environment that `make test` makes; one made by hand may differ, and says so here."""
    installed = metadata.distributions()
    versions = {canonicalize_name(d.metadata["Name"]): d.version.split("+")[0] for d in installed}
    wrong = {n: versions.get(n) for n in NEEDED | TESTED if versions.get(n) != PINS[n]}
    assert not wrong, "run make setup, or pip install -c constraints.txt -e .[test]"


def test_conda_installs_the_same_set():
    assert [entry for entry in PIP if not entry.startswith("--extra-index-url ")] == [
        "-c constraints.txt",
        "-e .[test]",
    ]
    python = next(e for e in CONDA if isinstance(e, str) and e.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python=") + ".9")


def test_conda_and_make_take_the_cpu_build_from_one_place():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (address,) = re.findall(r"^export TORCH_CPU_INDEX := (\S+)$", makefile, re.MULTILINE)
    assert f"--extra-index-url {address}" in PIP


def test_every_python_that_setup_takes_is_declared():
    setup = (ROOT / "scripts" / "setup.sh").read_text("utf-8")
    (cases,) = re.findall(r"fits\(\) \{ case \$1 in ([0-9. |]+)\)", setup)
    declared = SpecifierSet(PROJECT["requires-python"])
    every = [f"3.{minor}" for minor in range(8, 20)]
    assert cases.split(" | ") == [version for version in every if declared.contains(version)]


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == modelscale.__version__
    assert f"## {modelscale.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("folder", MADE_FOR)
def test_imports_are_declared(folder):
    declared = set(NEEDED) if folder == "modelscale" else set(NEEDED | TESTED | OPTIONAL)
    files = sorted((ROOT / folder).rglob("*.py"))
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports(path.read_text("utf-8"))
        if not distributions(name) & declared
    }
    assert not undeclared, "declare them in pyproject.toml"


def test_notebooks_import_what_the_package_needs_alone():
    for path in sorted((ROOT / "notebooks").rglob("[!.]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        code = [re.sub(r"(?m)^\s*[%!].*", "", c.source) for c in cells if c.cell_type == "code"]
        undeclared = {n for n in imports("\n".join(code)) if not distributions(n) & set(NEEDED)}
        assert not undeclared, f"{path.name} imports them, and [project.dependencies] has them not"


def test_an_undeclared_import_is_seen():
    assert imports("def f():\n    import torchvision.ops\n") == {"torchvision"}
    assert imports("import os, modelscale\nfrom . import x\nfrom PIL import Image") == {"PIL"}
    assert not distributions("torchvision") & set(NEEDED | TESTED)
    assert distributions("PIL") & set(NEEDED)


def imports(source):
    """The top-level names of others' packages that a source imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    own = [path for folder in MADE_FOR[1:] for path in (ROOT / folder).rglob("*.py")]
    local = {path.stem for path in own} | {path.parent.name for path in own}
    return {n.partition(".")[0] for n in names} - local - {"modelscale"} - sys.stdlib_module_names


def distributions(module, known=metadata.packages_distributions()):  # noqa: B008 - read once, it is slow
    """The packages that provide a module."""
    return {canonicalize_name(name) for name in known.get(module, [])}
