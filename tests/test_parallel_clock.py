"""Proves that timings are taken of the right work on the right ranks, and leave threads as before;
how long anything takes is asked nowhere.
"""

import time

import psutil
import pytest
import torch
import torch.distributed as dist

from modelscale import count, parallel
from modelscale.parallel import clock, ring

SHAPE = count.MLP(1, 8)


@pytest.fixture(scope="module", autouse=True)
def slow_modules_are_imported():
    """Once, by the server that ranks are forked from, where it is not running yet."""
    parallel.warm_up("torch._dynamo")


def test_messages_of_every_way_and_size_are_timed_in_turn():
    def timed():
        calls = []

        def slow(x):
            calls.append(x.nbytes)
            time.sleep(0.02)

        ways = {"slow": slow, "ring": ring.all_reduce, "step": clock.ring_step}
        return clock.message_s(ways, [4, 400], 3), calls

    for seconds, calls in parallel.run(timed):
        assert calls == [4] * 5 + [400] * 5  # two rounds before that do not count
        assert list(seconds) == ["slow", "ring", "step"]
        assert all(s.shape == (2,) and (s > 0).all() for s in seconds.values())
        assert (seconds["slow"] >= 0.02).all()


def test_a_step_is_timed_on_the_ranks_asked_for_and_threads_are_given_back():
    def timed():
        settings = {
            "one": (SHAPE, 4, 2),
            "alone": (SHAPE, 4, 2, "by hand"),
            "two": (SHAPE, 4, 2, "by hand", 2),
            "library": (SHAPE, 4, 2, "library", 2, 2),
            "gpt": (count.Transformer(1, 8, 2, 16, 8), 2, 1),
        }
        return clock.in_turn(settings, rounds=2), torch.get_num_threads(), dist.get_rank()

    for found, threads, rank in parallel.run(timed):
        assert threads == 1
        assert all(len(times) == 2 for times in found.values())
        for name, times in found.items():
            alone = name in ("one", "alone", "gpt")
            assert all((t is None) == (alone and rank == 1) for t in times)


def test_no_round_begins_after_the_limit():
    for found in parallel.run(clock.in_turn, {"one": (SHAPE, 4, 1)}, 5, 0.0):
        assert len(found["one"]) == 1


def test_bad_input_is_answered():
    with pytest.raises(ValueError, match="timings=0"):
        clock.message_s({}, [], 0)
    with pytest.raises(ValueError, match="averaging='mean'"):
        clock.training_step_s(SHAPE, 4, 1, averaging="mean")
    with pytest.raises(ValueError, match="rounds=0"):
        clock.in_turn({}, 0)


def test_timing_leaves_no_connection_and_bad_steps_change_no_threads():
    def many():
        before = psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0
        for _ in range(3):
            clock.training_step_s(SHAPE, 4, 1, "by hand", ranks=2)
        after = psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0
        with pytest.raises(ValueError, match="steps=0"):
            clock.training_step_s(SHAPE, 4, 0, threads=2)
        return after - before, torch.get_num_threads()

    for grown, threads in parallel.run(many):
        assert grown <= 3 and threads == 1  # three rounds once left fifteen
