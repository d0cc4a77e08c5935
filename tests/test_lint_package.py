"""Proves that the package's linter catches what it forbids."""

import ast
import json

import pytest

import lint_package

GOOD = '"""A sum."""\n\n\ndef add(a):\n    """The sum."""\n    return a\n'


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A package of one module whose one function a script and a notebook use."""
    monkeypatch.setattr(lint_package, "EXCEPTIONS", {})
    write(tmp_path / "modelscale" / "__init__.py", '"""The package."""\n')
    write(tmp_path / "modelscale" / "sums.py", GOOD)
    write(tmp_path / "experiments" / "a.py", "from modelscale.sums import add\n\nadd(1)\n")
    cell = {
        "cell_type": "code",
        "source": ["%time\n", "from modelscale import sums\n", "sums.add(1)"],
    }
    write(tmp_path / "notebooks" / "00_a.ipynb", json.dumps({"cells": [cell]}))
    return tmp_path


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


def test_two_consumers_are_enough_through_a_package_too(course):
    assert lint_package.lint(course) == []
    write(course / "modelscale" / "tools" / "__init__.py", '"""Tools."""\nfrom .sums import add\n')
    (course / "modelscale" / "sums.py").rename(course / "modelscale" / "tools" / "sums.py")
    write(course / "experiments" / "a.py", "from modelscale import tools as t\n\nt.add(1)\n")
    write(course / "benchmarks" / "b.py", "from modelscale.tools import add\n")
    assert lint_package.lint(course) == []


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("experiments/a.py", "", "sums.add: used by 00_a.ipynb: move it there"),
        (
            "modelscale/sums.py",
            GOOD.replace("The sum", "Nothing: adds"),
            "begins with an imperative",
        ),
        (
            "modelscale/sums.py",
            GOOD.replace("sum.", "sum.\n\n    Taught in: 00.\n    "),
            "'Taught in'",
        ),
        ("modelscale/sums.py", GOOD.replace('    """The sum."""\n', ""), "without a docstring"),
        ("modelscale/long.py", '"""Long."""\n' + "\n" * 300, "long: 301 lines, at most 300"),
    ],
)
def test_each_offence_is_named(course, path, text, message):
    write(course / path, text)
    assert any(message in found for found in lint_package.lint(course))


def test_the_whole_package_has_a_limit(course, monkeypatch):
    monkeypatch.setattr(lint_package, "LINES_MAX", 5)
    assert "modelscale has 7 lines, at most 5" in lint_package.lint(course)[0]


def test_a_type_that_public_functions_take_or_return_needs_no_other_user(course):
    more = '\n\nclass Sum:\n    """A sum."""\n\n\n'
    write(course / "modelscale" / "sums.py", GOOD + more)
    assert any("sums.Sum: used by nothing" in found for found in lint_package.lint(course))
    write(course / "modelscale" / "sums.py", GOOD.replace("(a):", "(a) -> list['Sum']:") + more)
    assert lint_package.lint(course) == []


def test_an_exception_holds_for_a_name_or_a_module_and_goes_when_it_is_not_needed(
    course, monkeypatch
):
    for exception in ("modelscale.sums.add", "modelscale.sums"):
        monkeypatch.setattr(lint_package, "EXCEPTIONS", {exception: "a contract"})
        assert any("is not needed" in found for found in lint_package.lint(course))
        write(course / "experiments" / "a.py", "")
        assert lint_package.lint(course) == []
        write(course / "experiments" / "a.py", "from modelscale.sums import add\n")


def test_a_relative_import_is_resolved_from_where_it_stands():
    (node,) = ast.parse("from ..a.b import c").body
    assert lint_package.absolute(node, "modelscale.x.y") == "modelscale.a.b"
    (node,) = ast.parse("from . import c").body
    assert lint_package.absolute(node, "modelscale.x.y") == "modelscale.x"
