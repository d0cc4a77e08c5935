"""Every checker of the course passes what is right, and answers what is wrong with a hint.

The answers, right and wrong, are those of tests/answers. The solutions in all notebooks are seen to
pass the checkers that the course calls.
"""

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

import answers
from modelscale import course
from modelscale.course import Verdict
from modelscale.course.checkers import LATER

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CALL = re.compile(r"\b(check_\w+)\(")
IN_COURSE = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def crashes(*_):
    raise KeyError("no such thing")


# Answers of another kind than the one asked for, wrong wherever they are given.
ALWAYS_WRONG = {
    "crashes": crashes,
    "returns text": lambda *_: "42",
    "returns no number": lambda *_: float("nan"),
    "returns half a pair": lambda *_: (1.0, None),
    "returns a list": lambda *_: [1],
    "returns an empty list": lambda *_: [],
    "takes no arguments": lambda: 1,
    "a number": 7,
    "text": "x",
}


def modules_of(package):
    """The modules of a package by their names."""
    names = [found.name for found in pkgutil.iter_modules(package.__path__)]
    return {name: import_module(f"{package.__name__}.{name}") for name in names}


TABLES = modules_of(answers)
CHECKERS = {
    f"{name}.{found.removeprefix('check_')}": getattr(module, found)
    for name, module in modules_of(course).items()
    for found in vars(module)
    if found.startswith("check_")
}
RIGHT = {checker: given for table in TABLES.values() for checker, given in table.RIGHT.items()}
WRONG = {checker: given for table in TABLES.values() for checker, given in table.WRONG.items()}


def cases(given):
    """(checker, answer) for each answer of RIGHT, WRONG or ALWAYS_WRONG to each checker."""
    return [
        pytest.param(checker, answer, id=f"{name}-{what}")
        for name, checker in CHECKERS.items()
        for what, answer in given(checker)
    ]


def test_no_checker_is_forgotten():
    assert set(CHECKERS.values()) == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize(("checker", "answer"), cases(lambda c: enumerate(RIGHT.get(c, ()))))
def test_a_right_answer_passes(checker, answer):
    assert checker(answer) == Verdict(True, "Correct.")


@pytest.mark.parametrize(("checker", "answer"), cases(lambda c: WRONG.get(c, {}).items()))
def test_a_plausible_wrong_answer_gets_a_reason_and_a_hint(checker, answer):
    refuses(checker, answer)


@pytest.mark.parametrize("checker", CHECKERS.values(), ids=CHECKERS)
def test_an_answer_of_another_kind_gets_a_reason_and_a_hint(checker):
    for answer in ALWAYS_WRONG.values():
        refuses(checker, answer)


def letters(checker):
    """Whether a checker asks for a letter."""
    return all(isinstance(answer, str) for answer in WRONG[checker].values())


@pytest.mark.parametrize("checker", CHECKERS.values(), ids=CHECKERS)
def test_what_nobody_has_tried_gets_no_hint(checker):
    wants_function = callable(next(iter(RIGHT[checker])))
    for stub in (..., None, *[lambda *_: ...] * wants_function):
        verdict = checker(stub)
        assert not verdict.passed and verdict.text.endswith(LATER)


@pytest.mark.parametrize("checker", list(filter(letters, WRONG)))
def test_each_wrong_letter_is_refuted_in_its_own_words(checker):
    refuted = {checker(letter).text for letter in WRONG[checker].values()}
    assert len(refuted) == len(WRONG[checker])


def refuses(checker, answer):
    verdict = checker(answer)
    assert not verdict.passed
    reason, hint = verdict.text.removeprefix("Not yet: ").split(" Hint: ")
    assert len(reason) > 5 and len(hint) > 15


@pytest.mark.parametrize("course", IN_COURSE, ids=lambda path: path.stem)
def test_every_exercise_of_a_notebook_has_a_solution_that_passed(course):
    path = NOTEBOOKS / "solutions" / course.name
    asked = [name for cell in code(course) for name in CALL.findall(cell.source)]
    passed = [
        CALL.findall(cell.source)[-1]
        for cell in code(path)
        if CALL.search(cell.source) and shown(cell) == ["Correct."]
    ]
    assert asked and sorted(passed) == sorted(asked)


@pytest.mark.parametrize("course", IN_COURSE, ids=lambda path: path.stem)
def test_the_stubs_of_a_notebook_are_unsolved_and_say_so(course):
    for cell in code(course):
        if CALL.search(cell.source):
            (verdict,) = shown(cell)
            assert "..." in cell.source and verdict.startswith("Not yet: ")
            assert verdict.endswith(LATER)
            if function := re.search(r"check_\w+\((\w+)\)", cell.source):
                assert verdict.startswith(f"Not yet: {function[1]}(")  # by its learner's name
            module, name = re.search(r"(\w+)\.(check_\w+)\(", cell.source).groups()
            assert f"{module}.{name.removeprefix('check_')}" in CHECKERS


def code(path):
    """The code cells of a notebook."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def shown(cell):
    """The text of each result in a cell's stored outputs."""
    return [out.data["text/plain"] for out in cell.outputs if out.output_type == "execute_result"]
