"""Proves that what `parallel.run` and data parallelism cannot do is refused with the value got and
the remedy.
"""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from modelscale import count, models, parallel
from modelscale.parallel import buckets, data, ring
from modelscale.parallel.buckets import DataParallel
from modelscale.parallel.zero import Zero

SHAPE = count.MLP(2, 8)


def unused(kind):
    model = models.build(SHAPE)
    model.spare = nn.Linear(2, 2)
    network = DataParallel(model) if kind == "finish" else model
    network(torch.ones(4, 40)).sum().backward()
    network.finish() if kind == "finish" else data.average_gradients(model)


def twice():
    network = DataParallel(models.build(SHAPE))
    for _ in range(2):
        network(torch.ones(4, 40)).sum().backward()


def tied():
    return Zero(models.build(count.Transformer(1, 8, 2, 16, 8)), 1, lr=0.1)


def no_loss(stage):
    Zero(models.build(SHAPE), stage, lr=0.1).step()


def changed(change):
    network = models.build(SHAPE)
    change(network.layers[1])
    return Zero(network, 1, lr=0.1)


def frozen(layer):
    layer.bias.requires_grad_(False)


def halved(layer):
    layer.bias.data = layer.bias.data.half()


CALLS = {
    r"fn=None: it must be a function": lambda: parallel.run(None),
    r"batch_size=11.*at most 10": lambda: list(data.batches(10, 11, 0, 1)),
    r"rank=2.*at most 1": lambda: list(data.batches(10, 5, 2, 2)),
    r"epoch=-1": lambda: list(data.batches(10, 5, 0, 1, -1)),
    r"trained parameters=0": lambda: buckets._make_buckets(nn.ReLU(), 1),
    r"it must be contiguous": lambda: ring._chunks(torch.ones(2, 3).T, 2),
}
ON_RANKS = {
    r"no gradient for spare\.\w+, spare\.\w+": lambda: unused("finish"),
    r"no gradient for spare\.weight": lambda: unused("average"),
    r"second backward pass": twice,
    r"two layers share a parameter": tied,
    r"no gradient in layers \[0, 1, 2\]": lambda: no_loss(0),
    r"no gradient in layers \[0, 1, 2\]: every": lambda: no_loss(2),
    r"frozen parameter": lambda: changed(frozen),
    r"several dtypes": lambda: changed(halved),
    r"stage=4": lambda: Zero(models.build(SHAPE), 4, lr=0.1),
}


@pytest.mark.parametrize("ranks", [0, -1, 65, 10_000, 2.0, True, "2"])
def test_a_number_of_ranks_out_of_bounds_is_refused(ranks):
    with pytest.raises(ValueError, match=r"ranks=.*whole number of at least 1, at most 64\. Every"):
        parallel.run(int, ranks=ranks)


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), "60"])
def test_a_time_out_of_bounds_is_refused(timeout_s):
    with pytest.raises(ValueError, match=r"timeout_s=.*finite number above 0\. Give the run some"):
        parallel.run(print, timeout_s=timeout_s)


@pytest.mark.parametrize("told", CALLS)
def test_bad_input_is_answered(told):
    with pytest.raises(ValueError, match=told):
        CALLS[told]()


def test_what_would_make_ranks_wait_is_refused():
    def refused():
        found = {}
        for told, call in ON_RANKS.items():
            try:
                call()
            except ValueError as error:
                found[told] = str(error)
            dist.barrier()
        return found

    (found,) = parallel.run(refused, ranks=1)
    assert set(found) == set(ON_RANKS)
    for told, words in found.items():
        with pytest.raises(ValueError, match=told):
            raise ValueError(words)
