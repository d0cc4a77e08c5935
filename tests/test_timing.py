"""Proves that a thread's seconds leave out waiting, a wall's do not, and turns are fair."""

import time

import pytest

from modelscale import timing


def test_a_thread_that_sleeps_works_no_second_and_a_wall_counts_it():
    def work():
        end = time.thread_time() + 2e-3
        while time.thread_time() < end:
            pass
        time.sleep(0.01)

    assert 1e-3 < timing.thread_s(work, seconds=0.02, least=2) < 0.009
    assert timing.in_turn_s({"work": work}, 2)["work"].min() > 0.009


def test_quick_work_is_repeated_until_it_can_be_timed():
    assert 0 < timing.thread_s(lambda: None, seconds=0.01) < 1e-5


def test_every_way_is_called_equally_often_after_what_comes_before():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = timing.in_turn_s(ways, 6, before=lambda: calls.append("-"))
    assert {name: found.shape for name, found in seconds.items()} == {"a": (6,), "b": (6,)}
    assert calls[::2] == ["-"] * 16 and calls.count("a") == calls.count("b") == 8
    rounds = ["".join(calls[i + 1 : i + 4 : 2]) for i in range(8, 32, 4)]
    assert set(rounds) == {"ab", "ba"}  # neither always finds the caches as the other left them


def test_mistakes_are_answered():
    with pytest.raises(ValueError, match=r"^rounds=0"):
        timing.in_turn_s({"a": int}, 0)
