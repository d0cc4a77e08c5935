"""Proves that what ranks print appears line by line and whole, that progress takes its own place in
a notebook and a line a second in a terminal, and that `report` is paced."""

import sys
import time

import pytest

from modelscale import parallel
from modelscale.parallel import entry, screen


class Display:
    """Notes what a notebook is given to show."""

    def __init__(self):
        self.texts = []

    def update(self, data, raw):
        self.texts.append(data["text/plain"])


@pytest.fixture
def notebook(monkeypatch):
    """A screen in a notebook whose display notes down all texts, shown without delay."""
    monkeypatch.setitem(screen._PACE_S, "notebook", 0)
    shown = screen.Screen()
    shown.kind, shown.display = "notebook", Display()
    return shown


def test_lines_are_printed_when_whole(capsys):
    shown = screen.Screen()
    text = "é\r\nsecond"
    for piece in (text.encode()[:1], text.encode()[1:4], text.encode()[4:]):
        shown.show(3, piece)
    assert capsys.readouterr().out == "[rank 3] é\n"
    shown.show(3, b"", last=True)
    assert capsys.readouterr().out == "[rank 3] second\n"


def test_the_lines_of_two_ranks_do_not_mix(capsys):
    shown = screen.Screen()
    for rank, piece in ((0, b"a"), (1, b"x\n"), (0, b"b\n\n")):
        shown.show(rank, piece)
    assert capsys.readouterr().out == "[rank 1] x\n[rank 0] ab\n[rank 0] \n"


def test_progress_in_a_notebook_takes_the_place_of_the_last(notebook, capsys):
    notebook.show(1, b"1/3\r")
    notebook.show(0, b"1/3\rhello\n2/3\r")
    notebook.show(1, b"2/3\r3/3\r")
    assert capsys.readouterr().out == "[rank 0] hello\n"
    assert notebook.display.texts[-1] == "[rank 0] 2/3\n[rank 1] 3/3"
    assert len(notebook.display.texts) == 3
    notebook.close(cleared=False)
    assert notebook.display.texts[-1] == "[rank 0] 2/3\n[rank 1] 3/3"
    notebook.close(cleared=True)
    assert notebook.display.texts[-1] == ""


def test_progress_bars_begin_with_the_carriage_return(notebook, capsys):
    notebook.show(0, b"\r 0%")
    notebook.show(0, b"\r50")
    notebook.show(0, b"%")
    assert notebook.display.texts == ["[rank 0]  0%", "[rank 0] 50", "[rank 0] 50%"]
    notebook.show(0, b"\r100%\n")
    assert capsys.readouterr().out == "[rank 0] 100%\n"


def test_progress_that_comes_too_soon_is_shown_when_it_is_due(notebook, monkeypatch):
    monkeypatch.setitem(screen._PACE_S, "notebook", 0.1)
    assert notebook.due_s() == float("inf")
    notebook.show(0, b"1/3\r")
    notebook.show(0, b"2/3\r")
    assert notebook.display.texts == ["[rank 0] 1/3"] and 0 < notebook.due_s() <= 0.1
    time.sleep(0.11)
    notebook.show(0, b"")
    assert notebook.display.texts[-1] == "[rank 0] 2/3" and notebook.due_s() == float("inf")


def test_progress_in_a_terminal_is_a_line_now_and_then_and_the_last(capsys):
    shown = screen.Screen()
    for i in range(5):
        shown.show(0, b"%d/5\r" % i)
    shown.close(cleared=True)
    assert capsys.readouterr().out == "[rank 0] 0/5\n[rank 0] 4/5\n"


def test_a_report_reaches_the_caller_while_the_rank_runs(monkeypatch, tmp_path):
    """The rank returns only once the caller has shown its progress."""

    class Stdout:
        def write(self, text):
            if "1/2 loss 0.3333" in text:
                (tmp_path / "seen").touch()

        def flush(self):
            pass

    def reporter():
        parallel.report(1, 2, loss=1 / 3)
        while not (tmp_path / "seen").exists():
            time.sleep(0.01)

    monkeypatch.setattr(sys, "stdout", Stdout())
    parallel.run(reporter, ranks=1, timeout_s=20)


def test_a_report_in_a_shell_is_a_line_of_rank_0(monkeypatch, capsys):
    monkeypatch.setitem(entry._last, "report", float("-inf"))
    monkeypatch.delenv(entry.LIVE, raising=False)
    for i in range(3):
        parallel.report(i + 1, 3, loss=0.123456, layers=12, state="fine")
    words = "loss 0.1235 layers 12 state fine"
    assert capsys.readouterr().out == f"[rank 0] 1/3 {words}\n[rank 0] 3/3 {words}\n"
    monkeypatch.setenv("RANK", "1")
    parallel.report(3, 3)
    assert capsys.readouterr().out == ""


def test_a_report_to_a_caller_ends_so_that_the_next_takes_its_place(monkeypatch, capsys):
    monkeypatch.setitem(entry._last, "report", float("-inf"))
    monkeypatch.setenv(entry.LIVE, "1")
    for i in range(1000):
        parallel.report(i + 1, 1000)
    parts = capsys.readouterr().out.split("\r")
    assert parts[0] == "1/1000" and parts[-2:] == ["1000/1000", ""] and len(parts) < 50
