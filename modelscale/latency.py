"""Seconds of a forward pass, of several networks taken in turn; and what could make it faster."""

import copy
import math
import time

import numpy as np
import torch
from torch import nn

from . import check, machine
from .compress import Int8Linear

SHORTEST_S = 2e-3  # shorter passes are repeated within one timing


@torch.inference_mode()
def latency_s(models: dict, x, rounds: int = 20) -> dict[str, np.ndarray]:
    """{name: seconds of one forward pass, one for each round}.

    Each round times every network once, in turn: what slows the machine down slows all of them, so
    that ratios can be trusted where seconds cannot. Each is run beforehand, untimed.

    Raises: ValueError without networks, or fewer than one round.
    Taught in: 07_efficiency.
    """
    check.integer("rounds", rounds)
    if not models:
        raise ValueError("models={}: it must hold at least one network, as in {'fp32': model}.")
    repeats = {name: _repeats(model, x) for name, model in models.items()}
    seconds = {name: np.empty(rounds) for name in models}
    for i in range(rounds):
        for name, model in models.items():
            seconds[name][i] = _time_s(model, x, repeats[name]) / repeats[name]
    return seconds


@torch.inference_mode()
def products_s(m: int, k: int, n: int, seconds: float = 0.1) -> dict[str, float]:
    """{kind: median seconds of an m x k times k x n product} in each kind of number there is.

    In integers it is computed twice: as `compress.int8` does, its rounding of the inputs included,
    and by the bare product that torchao's eager path calls (no public name, so it may be missing).

    Raises: ValueError if a size is not a whole number of at least 1.
    Taught in: 07_efficiency.
    """
    with torch.random.fork_rng(devices=[]):
        x = torch.randn(check.integer("m", m), check.integer("k", k))
        layer = nn.Linear(k, check.integer("n", n))
        x8, w8 = (torch.randint(-127, 128, t.shape, dtype=torch.int8) for t in (x, layer.weight.T))
    half, whole = copy.deepcopy(layer).bfloat16(), Int8Linear(layer)
    ways = {
        "float32": lambda: layer(x),
        "bfloat16": lambda: half(x.bfloat16()),
        "int8, torch.ops.quantized": lambda: whole(x),
    }
    if hasattr(torch, "_int_mm"):
        ways["int8, torch._int_mm"] = lambda: torch._int_mm(x8, w8)
    return {kind: machine.median_s(way, seconds=seconds) for kind, way in ways.items()}


@torch.inference_mode()
def compiled(model, x) -> tuple:
    """(`model` compiled for inputs like `x`, None), or (None, why not, in words).

    The first pass compiles: it takes seconds to minutes, and is done here. torch.compile writes
    and builds C++ on a CPU, so that it needs a compiler, which many laptops lack.

    Taught in: 07_efficiency.
    """
    fast = torch.compile(model)
    try:
        fast(x)
    except (RuntimeError, ImportError, OSError) as error:  # whatever is missing on this machine
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return None, f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
    return fast, None


def _repeats(model, x) -> int:
    """How many passes make one timing long enough."""
    _time_s(model, x, 1)
    return math.ceil(SHORTEST_S / min(_time_s(model, x, 1) for _ in range(3)))


def _time_s(model, x, n):
    start = time.perf_counter()
    for _ in range(n):
        model(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start
