"""Proves that latencies are taken in turn, per pass, and after a first run of everything; and that
a network is compiled, or its reader told why not.
"""

import itertools

import pytest
import torch

from modelscale import count, latency, models


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


def test_a_product_is_timed_in_every_kind_of_number():
    found = latency.products_s(8, 16, 4, seconds=0.001)
    assert {"float32", "bfloat16", "int8, torch.ops.quantized"} <= set(found)
    assert all(0 < took < 1 for took in found.values())
    with pytest.raises(ValueError, match=r"^k=0"):
        latency.products_s(8, 0, 4)


def test_a_network_is_compiled_where_it_can_be(monkeypatch):
    """torch's own tracing, without the compiler of C++ that CI has and laptops lack."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="eager"))
    model, x = models.build(count.MLP(2, 8)), torch.randn(3, 40)
    fast, why = latency.compiled(model, x)
    assert why is None and fast is not model
    with torch.inference_mode():
        assert torch.equal(fast(x), model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it loads
def test_a_machine_without_a_compiler_gets_a_reason(monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with torch.compiler.config.patch(force_disable_caches=True):
        fast, why = latency.compiled(models.build(count.MLP(2, 9)), torch.randn(3, 40))
    torch._dynamo.reset()
    assert fast is None and "compiler" in why.lower()


@pytest.mark.parametrize(("networks", "rounds"), [({}, 3), ({"a": abs}, 0)])
def test_a_mistake_is_named(networks, rounds):
    with pytest.raises(ValueError, match="it must"):
        latency.latency_s(networks, torch.zeros(1), rounds=rounds)


def test_timing_products_draws_no_random_numbers():
    before = torch.get_rng_state()
    latency.products_s(8, 8, 8, 1e-3)
    assert torch.equal(torch.get_rng_state(), before)
