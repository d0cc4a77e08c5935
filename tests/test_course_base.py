"""Proves that guesses are kept, claims compared without their numbers, answers given verdicts."""

import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from modelscale import dial
from modelscale.course import Sweep, Verdict, claim, exercise, guesses

check_two = exercise("add one and one.", name="answer", cases=[()], reference=lambda: 2)


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


@pytest.mark.parametrize("kind", [np.array, torch.tensor, np.float32])
def test_an_array_or_a_tensor_of_one_number_is_a_number(kind):
    assert check_two(lambda: kind(2.0)).passed


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """The file of an empty ledger, in a kernel that has asked nothing."""
    path = tmp_path / "data" / "guesses.json"
    monkeypatch.setenv("MODELSCALE_LEDGER", str(path))
    monkeypatch.setattr(guesses, "_ASKED", {})
    monkeypatch.setattr(dial, "started", None)
    return path


def field(question, unit="", options=()):
    """The field that `predict` shows."""
    with mock.patch.object(guesses, "display") as display:
        guesses.predict(question, unit, options=options)
    return display.call_args.args[0]


def lock(shown, text):
    """What a reader does with a field."""
    shown.field.value = text
    shown.button.click()
    return shown


def test_a_guess_is_locked_in_shown_beside_its_measurement_and_kept(ledger, capsys):
    shown = lock(field("how many", "GB"), "8")
    assert shown.button.disabled and shown.field.disabled and "locked in" in shown.message.value
    assert guesses.guess("how many") == 8
    guesses.measured("how many", np.float32(4))
    assert capsys.readouterr().out == ("◆ how many (measured 4 GB, guessed 8 GB, a factor of 2)\n")
    kept = json.loads(ledger.read_text())["unnamed"]["how many"]
    assert (kept["guess"], kept["value"], kept["unit"], kept["late"]) == (8, 4, "GB", False)


def test_a_guess_counts_again_in_the_next_kernel_and_is_locked_there(ledger, monkeypatch):
    lock(field("how fast", "s"), "3")
    monkeypatch.setattr(guesses, "_ASKED", {})
    assert guesses.guess("how fast") is None
    again = field("how fast", "s")
    assert guesses.guess("how fast") == 3 and again.button.disabled and again.field.value == "3.0"


def test_a_plain_call_locks_in_without_widgets(ledger, capsys):
    guesses.predict("share", "of all", "60 %")
    assert guesses.guess("share") == 0.6
    assert "Your guess: share, in of all?" in capsys.readouterr().out


def test_run_all_needs_no_guess(ledger, capsys):
    guesses.predict("which", options=("deep", "wide"))
    guesses.measured("which", "wide")
    guesses.measured("not asked", 1)
    assert "◆ which (measured wide, no guess)\n" in capsys.readouterr().out
    assert guesses.guess("which") is guesses.guess("not asked") is None
    assert guesses.summary().rows == [
        ("which", "no guess", "wide", ""),
        ("not asked", "no guess", "1", ""),
    ]
    assert not ledger.exists()


@pytest.mark.parametrize(
    ("guess", "found", "words"),
    [
        (8, 4, "a factor of 2"),
        (10, 10, "a factor of 1"),
        (-10, 10, "off by +20"),
        (0, 0.5, "off by +0.5"),
        ("1e3", 10, "a factor of 1e+02"),
        ("1,000", 1000, "a factor of 1"),
    ],
)
def test_the_distance_between_a_guess_and_what_was_found(ledger, guess, found, words):
    guesses.predict("x", value=guess)
    guesses.measured("x", found)
    assert guesses.summary().rows[0][3] == words


def test_a_guess_among_options_is_right_or_not(ledger):
    for choice, words in (("deep", "as guessed"), ("wide", "otherwise")):
        guesses.predict(choice, value=choice, options=("deep", "wide"))
        guesses.measured(choice, "deep")
        assert guesses.summary().rows[-1][3] == words


def test_a_guess_after_its_measurement_is_late_and_says_so(ledger):
    guesses.measured("x", 2)
    shown = lock(field("x"), "2")
    assert "after the measurement" in shown.message.value
    assert guesses.summary().rows[0][3] == "a factor of 1, late"


@pytest.mark.parametrize("text", ["", "many", "nan", "1e999"])
def test_what_is_no_number_is_refused_where_it_was_typed(ledger, text):
    shown = lock(field("x"), text)
    assert "must be a number. Write it as 0.6" in shown.message.value
    assert not shown.button.disabled and guesses.guess("x") is None
    with pytest.raises(ValueError, match="guess="):
        guesses.predict("x", value=text)


@pytest.mark.parametrize("content", ["{", "[]", '{"unnamed": 3}'])
def test_a_damaged_ledger_costs_only_its_memory(ledger, content):
    ledger.parent.mkdir()
    ledger.write_text(content)
    lock(field("x"), "2")
    assert json.loads(ledger.read_text())["unnamed"]["x"]["guess"] == 2


def test_a_ledger_that_cannot_be_written_loses_nothing_here(ledger):
    ledger.parent.write_text("a file where the folder should be")
    lock(field("x"), "2")
    assert guesses.guess("x") == 2


def test_the_field_reads_as_text_and_the_table_is_safe_html(ledger):
    text = field("<b>", "a & b", ("<i>", "j"))._repr_mimebundle_()["text/plain"]
    assert text == "Your guess: <b>, in a & b? <i>, j"
    guesses.measured("<b>", "a & b")
    page = guesses.summary()._repr_html_()
    assert "&lt;b&gt;" in page and "a &amp; b" in page


def test_a_claim_shows_its_numbers_and_is_compared_without_them(capsys):
    claim("deeper wins in every seed", True, ".88 against .67 (median)")
    claim("wider wins", np.bool_(False), ".5 against .6")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "✔ deeper wins in every seed (.88 against .67 (median))"
    assert second == "✘ wider wins (.5 against .6)"
    config = Path(__file__).parents[1].joinpath("nbval.cfg").read_text("utf-8")
    regex, replace = re.search(r"^regex: (.*)\nreplace: (.*)$", config, re.MULTILINE).groups()
    assert re.sub(regex, replace, first) == "✔ deeper wins in every seed"
    assert re.sub(regex, replace, "4 (in the sample)") == "4 (in the sample)"
    both = re.sub(regex, replace, f"{first}\n{second}\n")  # as in a cell of two claims
    assert both == "✔ deeper wins in every seed\n✘ wider wins\n"


@pytest.mark.parametrize("words", ["deeper (by far) wins", "two\nlines"])
def test_words_that_could_not_be_compared_are_refused(words):
    with pytest.raises(ValueError, match="without parentheses"):
        claim(words, True, "1")


@pytest.fixture
def sweep(tmp_path):
    """A sweep whose value is log2(width) plus the seed."""
    cells = [
        {"kind": kind, "width": w, "test": [i, i + 1.0], "loss": [0.5, None]}
        for kind in ("plain", "residual")
        for i, w in enumerate((1, 2, 4, 8))
    ]
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"machine": "here", "cells": cells}))
    return Sweep(path, "kind", "width")


def test_a_sweep_is_read_at_its_points(sweep):
    assert sweep.about == {"machine": "here"} and sweep.values["width"] == [1, 2, 4, 8]
    assert sweep.runs("test", kind="plain", width=4).tolist() == [2, 3]
    assert sweep.runs("loss", kind="plain", width=4).tolist() == [0.5, np.inf]


def test_what_a_sweep_has_not_measured_is_refused(sweep, tmp_path):
    with pytest.raises(ValueError, match=r"'width': 3.*measured.*1, 2, 4, 8"):
        sweep.cell(kind="plain", width=3)
    with pytest.raises(ValueError, match="tell all cells apart"):
        Sweep(tmp_path / "sweep.json", "width")
