"""Proves that predictions are kept, and that checkers answer everything with a verdict."""

import math

import numpy as np
import pytest
import torch

from modelscale.exercises import Verdict, exercise
from modelscale.exercises.base import differs
from modelscale.exercises.predictions import Ledger


@exercise("add one and one.")
def check_two(answer):
    """Whether `answer()` is 2."""
    return differs("answer()", answer(), 2)


def test_a_right_answer_passes():
    assert check_two(lambda: 2) == Verdict(True, "Correct.")


@pytest.mark.parametrize("answer", [None, ..., lambda: None, lambda: ...])
def test_an_untouched_stub_is_not_yet_and_gets_no_hint(answer):
    verdict = check_two(answer)
    reason = "answer() gives nothing back yet." if callable(answer) else "replace the dots."
    assert not verdict.passed and repr(verdict) == f"Not yet: {reason} A first try brings a hint."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: 3, "1.5 times too large"),
        (lambda: 1, "2 times too small"),
        (lambda: -1, "too small"),
        (lambda: "2", "not a number"),
        (lambda: True, "not a number"),
        (lambda: np.array([2, 2]), "not a number"),
        (lambda: torch.tensor(3.0), "1.5 times too large"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (2, "TypeError"),
    ],
)
def test_a_wrong_answer_gets_a_reason_and_the_hint(answer, words):
    verdict = check_two(answer)
    assert not verdict.passed and words in verdict.text and "add one and one" in verdict.text


def test_guesses_stand_beside_measurements_in_the_order_asked(capsys):
    ledger = Ledger()
    ledger.predict("how many", 8)
    ledger.predict("how fast", ...)
    ledger.predict("which", "deep")
    ledger.predict("never run", 1)
    ledger.measured("how many", 4.0, "GB")
    ledger.measured("how fast", 3.14159, "s")
    ledger.measured("which", "wide")
    ledger.measured("not asked", 1)
    assert ledger.summary().rows == [
        ("how many", "8 GB", "4 GB", "off by a factor of 2"),
        ("how fast", "no guess", "3.14 s", ""),
        ("which", "deep", "wide", "otherwise"),
        ("never run", "1", "not measured yet", ""),
        ("not asked", "no guess", "1", ""),
    ]
    assert "No guess yet" in capsys.readouterr().out


def test_a_guess_may_be_right_wrong_in_sign_or_changed():
    ledger = Ledger()
    for guess, found, words in (
        (10.5, 10, "as expected"),
        (-10, 10, "off by +20"),
        (100, 10, "factor of 10"),
        (0, 0, "as expected"),
        (-1.5, -1.5, "as expected"),
    ):
        ledger.predict("x", guess)
        ledger.measured("x", found)
        assert words in ledger.summary().rows[0][3]


def test_the_table_is_safe_html():
    ledger = Ledger()
    ledger.predict("<b>", "a & b")
    assert (
        "&lt;b&gt;" in ledger.summary()._repr_html_()
        and "a &amp; b" in ledger.summary()._repr_html_()
    )


@pytest.mark.parametrize("kind", [np.array, torch.tensor, np.float32])
def test_an_array_or_a_tensor_of_one_number_is_a_number(kind):
    assert check_two(lambda: kind(2.0)).passed


@pytest.mark.parametrize(
    ("guess", "found", "words"),
    [
        ("Depth", "depth", "as expected"),
        (5, np.int64(6), "off by a factor of 1.2"),
        (True, False, "otherwise"),
        (3.0, math.nan, "otherwise"),
        (np.array([1, 2]), 3.0, "otherwise"),
        (5, 5.0, "as expected"),
    ],
)
def test_a_guess_of_any_kind_is_set_beside_what_was_found(guess, found, words):
    ledger = Ledger()
    ledger.predict("x", guess), ledger.measured("x", found)
    assert ledger.summary().rows[0][3] == words


def test_neither_guess_nor_measurement():
    ledger = Ledger()
    ledger.predict("x", ...)
    assert ledger.summary().rows == [("x", "no guess", "not measured yet", "")]
