"""Seconds of a forward pass, of several networks taken in turn."""

import math
import time

import numpy as np
import torch

from . import check
from . import dial as _dial  # noqa: F401  one intra-op thread

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
