"""Proves that latencies are taken in turn, per pass, and after a first run of everything."""

import itertools

import pytest
import torch

from modelscale import latency


class Clock:
    """A clock that only networks move."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.calls = []
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def network(self, name, seconds, first=0.0):
        extra = itertools.chain([first], itertools.repeat(0.0))

        def call(x):
            assert torch.is_inference_mode_enabled()
            self.calls.append(name)
            self.now += seconds + next(extra)

        return call


def test_seconds_are_those_of_one_pass(monkeypatch):
    clock = Clock(monkeypatch)
    networks = {"slow": clock.network("slow", 0.01, first=5), "fast": clock.network("fast", 1e-4)}
    seconds = latency.latency_s(networks, torch.zeros(1), rounds=3)
    assert list(seconds) == ["slow", "fast"]
    assert seconds["slow"] == pytest.approx([0.01] * 3)
    assert seconds["fast"] == pytest.approx([1e-4] * 3)


def test_networks_take_turns(monkeypatch):
    clock = Clock(monkeypatch)
    networks = {name: clock.network(name, 0.01) for name in "ab"}
    latency.latency_s(networks, torch.zeros(1), rounds=3)
    assert clock.calls[-6:] == list("ababab")


def test_a_short_pass_is_repeated(monkeypatch):
    clock = Clock(monkeypatch)
    latency.latency_s({"a": clock.network("a", 2**-12)}, torch.zeros(1), rounds=1)
    assert len(clock.calls) == 4 + 9  # 9 / 4096 s is the first above 2 ms


@pytest.mark.parametrize(("models", "rounds"), [({}, 3), ({"a": abs}, 0)])
def test_a_mistake_is_named(models, rounds):
    with pytest.raises(ValueError, match="it must"):
        latency.latency_s(models, torch.zeros(1), rounds=rounds)
