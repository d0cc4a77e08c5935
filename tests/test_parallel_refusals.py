"""Proves that what cannot be run, shared, split, scheduled or sent is refused with the value
got and a remedy, before ranks wait for each other.
"""

import sys
from dataclasses import replace

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from modelscale import count, models, parallel
from modelscale.parallel import collectives, context, data, expert, pipeline, ring, schedule, tensor
from modelscale.parallel.buckets import DataParallel
from modelscale.parallel.simulate import Costs, simulate
from modelscale.parallel.zero import Zero

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

MLP = count.MLP(2, 8)
GPT = count.Transformer(2, 32, 4, 60, 24, tied=False)
EXPERTS = replace(GPT, n_expert=4, n_expert_active=2)


def costs(**values):
    return lambda: simulate(schedule.build("1f1b", 2, 2), Costs(**values))


def stages(n, **change):
    return lambda: pipeline.into_stages(models.build(replace(GPT, **change)), n)


HERE = {
    r"fn=None: it must be a function": lambda: parallel.run(None),
    r"batch_size=11.*at most 10": lambda: list(data.batches(10, 11, 0, 1)),
    r"rank=2.*at most 1": lambda: list(data.batches(10, 5, 2, 2)),
    r"epoch=-1": lambda: list(data.batches(10, 5, 0, 1, -1)),
    r"it must be contiguous": lambda: ring._chunks(torch.ones(2, 3).T, 2),
    "forward=-1": costs(forward=-1),
    "length of weight_grad=3: it must be 2": costs(weight_grad=(1, 2, 3)),
    "communication=nan": costs(communication=float("nan")),
    "n_stages=3.*n_layer=2": stages(3),
    "n_stages=0": stages(0),
    "tied=True": stages(2, tied=True),
}
SCHEDULES = {
    "name='dual'.*'zero_bubble'": ("dual", 2, 2),
    "stages=0": ("1f1b", 0, 2),
    "micro_batches=2.5": ("1f1b", 2, 2.5),
    "chunks=0": ("1f1b", 2, 2, 0),
    "chunks=2: it must be 1 for 'gpipe'": ("gpipe", 2, 2, 2),
    "stages=4.*micro_batches=6": ("interleaved", 4, 6, 2),
}


@pytest.mark.parametrize("ranks", [0, 65, 2.0, True, "2"])
def test_a_number_of_ranks_out_of_bounds_is_refused(ranks):
    with pytest.raises(ValueError, match=r"ranks=.*whole number of at least 1, at most 64\. Every"):
        parallel.run(int, ranks=ranks)


@pytest.mark.parametrize("timeout_s", [0, float("inf"), "60"])
def test_a_time_out_of_bounds_is_refused(timeout_s):
    with pytest.raises(ValueError, match=r"timeout_s=.*finite number above 0\. Give the run some"):
        parallel.run(print, timeout_s=timeout_s)


@pytest.mark.parametrize("words", HERE)
def test_what_cannot_be_is_refused_at_once(words):
    with pytest.raises(ValueError, match=words):
        HERE[words]()


@pytest.mark.parametrize("words", SCHEDULES)
def test_what_is_no_schedule_is_refused(words):
    for function in (schedule.build, schedule.bubble_law):
        with pytest.raises(ValueError, match=words):
            function(*SCHEDULES[words])


def unused(kind):
    model = models.build(MLP)
    model.spare = nn.Linear(2, 2)
    network = DataParallel(model) if kind == "finish" else model
    network(torch.ones(4, 40)).sum().backward()
    network.finish() if kind == "finish" else data.average_gradients(model)


def twice():
    network = DataParallel(models.build(MLP))
    for _ in range(2):
        network(torch.ones(4, 40)).sum().backward()


def changed(change):
    network = models.build(MLP)
    change(network.layers[1])
    Zero(network, 1, lr=0.1)


def halved(layer):
    layer.bias.data = layer.bias.data.half()


def zero(stage, shape=MLP):
    Zero(models.build(shape), stage, lr=0.1).step()


def split(**change):
    tensor.split(models.build(replace(GPT, **change)), dist.group.WORLD)


def experts(capacity=None, balance=0.0, **change):
    mixture = models.build(replace(EXPERTS, **change)).blocks[0].mlp
    mixture.balance = balance
    expert.ExpertParallel(mixture, dist.group.WORLD, capacity)


def attend(k_heads):
    q, k = torch.ones(2, 2, 4, 8), torch.ones(2, k_heads, 4, 8)
    context.ring_attention(q, k, q, dist.group.WORLD)


def line(ranks=2, stages=1, micro_batches=2):
    made = schedule.build("1f1b", ranks, 2)
    parts = pipeline.into_stages(models.build(GPT), 2)[:stages]
    made = pipeline.Pipeline(made, parts, (1, 24, 32), F.cross_entropy)
    made.step([torch.zeros(1, 4).long()] * micro_batches, [0, 0])


ON_RANKS = {
    r"no gradient for spare\.\w+, spare\.\w+": lambda: unused("finish"),
    r"no gradient for spare\.weight": lambda: unused("average"),
    "second backward pass": twice,
    "two layers share a parameter": lambda: zero(1, replace(GPT, tied=True)),
    r"no gradient in layers \[0, 1, 2\]": lambda: zero(0),
    r"no gradient in layers \[0, 1, 2\]: every": lambda: zero(2),
    "frozen parameter": lambda: changed(lambda layer: layer.bias.requires_grad_(False)),
    "several dtypes": lambda: changed(halved),
    "stage=4": lambda: zero(4),
    "ranks=2: it must be a divisor of n_head=1.*Take as many": lambda: split(n_head=1),
    "n_kv_head=1": lambda: split(n_kv_head=1),
    "d_ff=33.*Choose a d_ff": lambda: split(d_ff=33),
    "vocab_size=61.*Pad": lambda: split(vocab_size=61),
    "parallel.expert": lambda: split(n_expert=2),
    "tokens=7.*Cut or pad": lambda: collectives.own_tokens(torch.ones(1, 7, 2), dist.group.WORLD),
    r"\(2, 1, 4, 8\).*Repeat grouped keys": lambda: attend(k_heads=1),
    "n_expert=3.*Take as many": lambda: experts(n_expert=3, n_expert_active=1),
    "capacity=0.*slack": lambda: experts(capacity=0),
    "mixture.balance=0.01.*yourself": lambda: experts(balance=0.01),
    "members of group=2: it must be 3": lambda: line(ranks=3),
    "members of stages=2: it must be 1": lambda: line(stages=2),
    "members of inputs=3: it must be 2": lambda: line(micro_batches=3),
}


@pytest.fixture(scope="module")
def said():
    """What rank 0 of two says to each of ON_RANKS."""

    def ask():
        answers = []
        for call in ON_RANKS.values():
            try:
                call()
                answers.append("nothing")
            except ValueError as error:
                answers.append(str(error))
            dist.barrier()
        return answers

    return dict(zip(ON_RANKS, parallel.run(ask)[0], strict=True))


@pytest.mark.parametrize("words", ON_RANKS)
def test_what_ranks_cannot_share_is_refused(said, words):
    with pytest.raises(ValueError, match=words):
        raise ValueError(said[words])
