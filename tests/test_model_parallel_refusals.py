"""Proves that what cannot be split, scheduled or sent is refused with what it got and a remedy."""

import sys
from dataclasses import replace

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch.nn import functional as F

from modelscale import count, models, parallel
from modelscale.parallel import collectives, context, expert, pipeline, schedule, tensor
from modelscale.parallel.simulate import Costs, simulate

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

GPT = count.Transformer(2, 32, 4, 60, 24, tied=False)
EXPERTS = replace(GPT, n_expert=4, n_expert_active=2)
HERE = [
    ("name='dual'.*'zero_bubble'", ("dual", 2, 2)),
    ("stages=0", ("1f1b", 0, 2)),
    ("micro_batches=2.5", ("1f1b", 2, 2.5)),
    ("chunks=0", ("1f1b", 2, 2, 0)),
    ("chunks=2: it must be 1 for 'gpipe'", ("gpipe", 2, 2, 2)),
    ("stages=4.*micro_batches=6", ("interleaved", 4, 6, 2)),
    ("forward=-1", {"forward": -1}),
    ("weight_grad has 3 costs: it must have 2", {"weight_grad": (1, 2, 3)}),
    ("communication=nan", {"communication": float("nan")}),
    ("n_stages=3.*n_layer=2", (GPT, 3)),
    ("n_stages=0", (GPT, 0)),
    ("tied=True", (replace(GPT, tied=True), 2)),
]


@pytest.mark.parametrize(("words", "what"), HERE)
def test_what_is_no_schedule_cost_or_stage_is_refused(words, what):
    with pytest.raises(ValueError, match=words):
        if isinstance(what, dict):
            simulate(schedule.build("1f1b", 2, 2), Costs(**what))
        elif isinstance(what[0], str):
            schedule.bubble_law(*what)
        else:
            pipeline.into_stages(models.build(what[0]), what[1])
    if isinstance(what, tuple) and isinstance(what[0], str):
        with pytest.raises(ValueError, match=words):
            schedule.build(*what)


def split(**change):
    tensor.split(models.build(replace(GPT, **change)), dist.group.WORLD)


def experts(capacity=None, balance=0.0, **change):
    mixture = models.build(replace(EXPERTS, **change)).blocks[0].mlp
    mixture.balance = balance
    expert.ExpertParallel(mixture, dist.group.WORLD, capacity)


def attend(k_heads=2, scale=None):
    q, k = torch.ones(2, 2, 4, 8), torch.ones(2, k_heads, 4, 8)
    context.ring_attention(q, k, q, dist.group.WORLD, scale=scale)


def line(ranks=2, stages=1, micro_batches=2):
    made = schedule.build("1f1b", ranks, 2)
    parts = pipeline.into_stages(models.build(GPT), 2)[:stages]
    made = pipeline.Pipeline(made, parts, (1, 24, 32), F.cross_entropy)
    made.step([torch.zeros(1, 4).long()] * micro_batches, [0, 0])


ON_RANKS = {
    "ranks=2: it must be a divisor of n_head=1.*Take as many": lambda: split(n_head=1),
    "n_kv_head=1": lambda: split(n_kv_head=1),
    "d_ff=33.*Choose a d_ff": lambda: split(d_ff=33),
    "vocab_size=61.*Pad": lambda: split(vocab_size=61),
    "parallel.expert": lambda: split(n_expert=2),
    "tokens=7.*Cut or pad": lambda: collectives.own_tokens(torch.ones(1, 7, 2), dist.group.WORLD),
    r"\(2, 1, 4, 8\).*Repeat grouped keys": lambda: attend(k_heads=1),
    "scale=0": lambda: attend(scale=0),
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
        return answers

    return dict(zip(ON_RANKS, parallel.run(ask)[0], strict=True))


@pytest.mark.parametrize("words", ON_RANKS)
def test_what_ranks_cannot_share_is_refused(said, words):
    with pytest.raises(ValueError, match=words):
        raise ValueError(said[words])
