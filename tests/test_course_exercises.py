"""Every checker of the course passes what is right, and answers what is wrong with a hint.

The wrong answers are those that learners give; here of the first two notebooks, in test_course_*.py
of the others. The solutions in all notebooks are seen to pass the checkers that the course calls.
"""

import re
from importlib import import_module
from pathlib import Path

import nbformat
import numpy as np
import pytest

from modelscale import count
from modelscale.exercises import Verdict, vertical_scaling, your_machine

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CALL = re.compile(r"\b(check_\w+)\(")
IN_COURSE = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def crashes(*_):
    raise KeyError("no such thing")


def nothing(*_):
    return None


def words(*_):
    return "42"


def not_a_number(*_):
    return float("nan")


ALWAYS_WRONG = [crashes, nothing, words, not_a_number, lambda: 1, lambda *_: [1], 7, "x"]


def flops(depth, width, batch):
    return 2 * batch * (2 * 40 * width + 3 * (depth - 1) * width**2 + 3 * 10 * width)


def widest(depth, budget):
    return max(w for w in range(1, 2000) if count.MLP(depth, w).params <= budget)


RIGHT = {
    your_machine.check_intensity: [
        lambda n, b: 2 * n / (3 * b),
        lambda n, b: np.float64(2 * n / 3 / b),
    ],
    your_machine.check_roofline_time: [lambda f, m, p, b: max(f / p, m / b)],
    your_machine.check_ring_time: [lambda m, r, t, b: 2 * (r - 1) * t + 2 * (r - 1) / r * m / b],
    your_machine.check_lying_benchmark: ["b", " B "],
    vertical_scaling.check_train_flops: [flops, lambda *a: float(flops(*a))],
    vertical_scaling.check_widest: [widest, lambda *a: np.int64(widest(*a))],
    vertical_scaling.check_state_bytes: [lambda n: 16 * n],
    vertical_scaling.check_suspect: ["c", "C"],
}
WRONG = {
    your_machine.check_intensity: {
        "multiplications alone": lambda n, b: n / (3 * b),
        "bits": lambda n, b: 2 * n / (3 * 8 * b),
        "always float32": lambda n, b: 2 * n / 12,
        "numbers, not bytes": lambda n, b: 2 * n / 3,
        "two matrices": lambda n, b: n / b,
        "bytes per FLOP": lambda n, b: 3 * b / (2 * n),
        "rounded down": lambda n, b: 2 * n // (3 * b) // 10,
    },
    your_machine.check_roofline_time: {
        "added": lambda f, m, p, b: f / p + m / b,
        "the shorter": lambda f, m, p, b: min(f / p, m / b),
        "computing alone": lambda f, m, p, b: f / p,
        "moving alone": lambda f, m, p, b: m / b,
        "speed": lambda f, m, p, b: min(p, b * f / m),
        "bits": lambda f, m, p, b: max(f / p, 8 * m / b),
        "milliseconds": lambda f, m, p, b: 1e3 * max(f / p, m / b),
    },
    your_machine.check_ring_time: {
        "one way": lambda m, r, t, b: (r - 1) * (t + m / r / b),
        "whole message each step": lambda m, r, t, b: 2 * (r - 1) * (t + m / b),
        "one latency": lambda m, r, t, b: t + 2 * (r - 1) / r * m / b,
        "no latency": lambda m, r, t, b: 2 * (r - 1) / r * m / b,
        "r steps": lambda m, r, t, b: 2 * r * (t + m / r / b),
        "bits": lambda m, r, t, b: 2 * (r - 1) * (t + 8 * m / r / b),
        "no ranks": lambda m, r, t, b: t + m / b,
    },
    your_machine.check_lying_benchmark: dict(zip("acde", "acde", strict=True)),
    vertical_scaling.check_train_flops: {
        "gradient of the data": lambda d, w, b: 6 * b * (40 * w + (d - 1) * w**2 + 10 * w),
        "forward alone": lambda d, w, b: 2 * b * (40 * w + (d - 1) * w**2 + 10 * w),
        "multiplications alone": lambda *a: flops(*a) // 2,
        "one sample": lambda d, w, b: flops(d, w, 1),
        "one layer too many": lambda d, w, b: flops(d + 1, w, b),
        "no head": lambda d, w, b: flops(d, w, b) - 60 * b * w,
        "6 N B": lambda d, w, b: 6 * b * count.MLP(d, w).params,
    },
    vertical_scaling.check_widest: {
        "one too wide": lambda d, b: widest(d, b) + 1,
        "one too narrow": lambda d, b: widest(d, b) - 1,
        "a real number": lambda d, b: widest(d, b) + 0.5,
        "the budget": lambda d, b: b,
        "hidden layers alone": lambda d, b: int((b / d) ** 0.5),
        "one layer too few": lambda d, b: widest(max(1, d - 1), b),
        "in steps of 8": lambda d, b: widest(d, b) // 8 * 8,
    },
    vertical_scaling.check_state_bytes: {
        "no gradients": lambda n: 12 * n,
        "no averages": lambda n: 8 * n,
        "weights alone": lambda n: 4 * n,
        "numbers": lambda n: 4,
        "bits": lambda n: 128 * n,
        "float64": lambda n: 32 * n,
        "mixed precision": lambda n: 18 * n,
    },
    vertical_scaling.check_suspect: dict(zip("abde", "abde", strict=True)),
}
LETTERS = (your_machine.check_lying_benchmark, vertical_scaling.check_suspect)


def cases(answers):
    return [
        pytest.param(checker, answer, id=f"{checker.__name__}-{name}")
        for checker, wrong in answers.items()
        for name, answer in (wrong.items() if isinstance(wrong, dict) else enumerate(wrong))
    ]


def test_no_checker_is_forgotten():
    written = {
        getattr(module, name)
        for module in (your_machine, vertical_scaling)
        for name in dir(module)
        if name.startswith("check_")
    }
    assert written == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize(("checker", "answer"), cases(RIGHT))
def test_a_right_answer_passes(checker, answer):
    assert checker(answer) == Verdict(True, "Correct.")


@pytest.mark.parametrize(("checker", "answer"), cases(WRONG))
def test_a_plausible_wrong_answer_gets_a_reason_and_a_hint(checker, answer):
    refuses(checker, answer)


@pytest.mark.parametrize("checker", RIGHT)
def test_an_answer_of_another_kind_gets_a_reason_and_a_hint(checker):
    for answer in ALWAYS_WRONG:
        refuses(checker, answer)
    for stub in (..., None):
        assert repr(checker(stub)).startswith("Not yet: replace the dots. Hint: ")


@pytest.mark.parametrize("checker", LETTERS)
def test_each_wrong_letter_is_refuted_in_its_own_words(checker):
    refuted = {checker(letter).text for letter in WRONG[checker]}
    assert len(refuted) == 4


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
            module, name = re.search(r"(\w+)\.(check_\w+)\(", cell.source).groups()
            assert callable(getattr(import_module(f"modelscale.exercises.{module}"), name))


def refuses(checker, answer):
    verdict = checker(answer)
    assert not verdict.passed
    reason, hint = verdict.text.removeprefix("Not yet: ").split(" Hint: ")
    assert len(reason) > 5 and len(hint) > 15


def code(path):
    """The code cells of a notebook."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def shown(cell):
    """The text of each result in a cell's stored outputs."""
    return [out.data["text/plain"] for out in cell.outputs if out.output_type == "execute_result"]
