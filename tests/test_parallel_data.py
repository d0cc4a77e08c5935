"""Proves that data parallelism by hand, in each of its forms, ends with the weights that
DistributedDataParallel and one process on the whole batch end with, that every sample is used once
an epoch, and that what would make ranks wait or drift apart is refused.
"""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DistributedSampler

from modelscale import count, models, parallel
from modelscale.parallel import data
from modelscale.parallel.buckets import DataParallel, _make_buckets

SHAPE = count.MLP(depth=3, width=32)
N, BATCH = 640, 32  # 20 steps
SMALL = 5000  # bytes: several buckets
OPTIMIZERS = {
    "sgd": (1e-6, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "adamw": (5e-5, lambda p: torch.optim.AdamW(p, 1e-2)),
}
WRAPPED = {
    "one bucket": lambda m: DataParallel(m),
    "buckets": lambda m: DataParallel(m, SMALL),
    "buckets, no overlap": lambda m: DataParallel(m, SMALL, overlap=False),
    "a message a gradient": lambda m: DataParallel(m, 0),
    "library": lambda m: nn.parallel.DistributedDataParallel(m, bucket_cap_mb=SMALL / 2**20),
}


@pytest.fixture(scope="module", autouse=True)
def optimizers_are_imported():
    """Once, by the server that ranks are forked from, where it is not running yet."""
    parallel.warm_up("torch._dynamo")


def samples(n=N):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 40, generator=generator), torch.randint(10, (n,), generator=generator)


def train(kind, optimizer, n=N, wrong=""):
    """The weights after one epoch."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    model, (x, y) = models.build(SHAPE, seed=rank), samples(n)
    network = WRAPPED[kind](model) if kind in WRAPPED else model
    if kind == "average" and wrong != "broadcast":
        data.broadcast(model)
    optimizer = OPTIMIZERS[optimizer][1](model.parameters())
    for rows, n_all in data.batches(n, BATCH, rank, ranks):
        losses = F.cross_entropy(network(x[rows]), y[rows], reduction="none")
        loss = losses.mean() if wrong == "mean" else losses.sum() * ranks / n_all
        optimizer.zero_grad()
        loss.backward()
        if kind == "average" and wrong != "average":
            data.average_gradients(model)
        elif isinstance(network, DataParallel):
            network.finish()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def difference(a, b):
    return float((a - b).abs().max())


def test_every_form_equals_one_process_on_the_whole_batch_and_the_library():
    def all_of_them():
        kinds = ["average", *WRAPPED] if dist.get_world_size() > 1 else ["average"]
        return {(k, o): train(k, o) for k in kinds for o in OPTIMIZERS}

    (one,) = parallel.run(all_of_them, ranks=1)
    first, second = parallel.run(all_of_them, ranks=2, timeout_s=120)
    for (kind, optimizer), weights in first.items():
        tolerance = OPTIMIZERS[optimizer][0]
        assert difference(weights, one["average", optimizer]) < tolerance, kind
        assert difference(weights, first["library", optimizer]) < tolerance, kind
        assert torch.equal(weights, second[kind, optimizer]), kind


@pytest.mark.parametrize("n", [70, 65])
def test_unequal_shares_too_even_where_a_rank_has_none(n):
    def three():
        kinds = [("average", ""), ("buckets", "")]
        kinds += [("average", wrong) for wrong in ("broadcast", "average")]
        kinds += [("average", "mean")] if n == 70 else []  # of no sample there is no mean
        return {kind: train(kind[0], "sgd", n, kind[1]) for kind in kinds}

    (one,) = parallel.run(train, "average", "sgd", n, ranks=1)
    ranks = parallel.run(three, ranks=3, timeout_s=120)
    apart = {kind: difference(ranks[0][kind], ranks[2][kind]) for kind in ranks[0]}
    for kind in ("average", "buckets"):
        assert apart[kind, ""] == 0 and difference(ranks[0][kind, ""], one) < 1e-6
    assert apart["average", "average"] > 1e-2 and apart["average", "broadcast"] > 1e-2
    if n == 70:  # in step, and wrong
        assert apart["average", "mean"] == 0
        assert difference(ranks[0]["average", "mean"], one) > 1e-4


def test_accumulation_sends_once_and_gives_the_same_gradients():
    def accumulate(kind):
        torch.manual_seed(dist.get_rank())
        model, (x, y) = models.build(SHAPE), samples(12)
        network, sent = DataParallel(model, SMALL), []
        ((rows, _),) = data.batches(12, 12, dist.get_rank(), dist.get_world_size())
        if kind == "whole":
            F.cross_entropy(network(x[rows]), y[rows]).backward()
        else:
            first, *rest = rows.split(2)
            with network.no_sync():
                for part in rest:
                    F.cross_entropy(network(x[part]), y[part], reduction="sum").div(6).backward()
                sent = [bucket.work for bucket in network.buckets]
            F.cross_entropy(network(x[first]), y[first], reduction="sum").div(6).backward()
        network.finish()
        spans = [bucket.flat.nbytes for bucket in network.buckets]
        return torch.cat([p.grad.flatten() for p in model.parameters()]), sent, spans

    whole, parts = (parallel.run(accumulate, kind) for kind in ("whole", "parts"))
    assert difference(whole[0][0], parts[0][0]) < 1e-6
    assert difference(parts[0][0], parts[1][0]) == 0
    assert set(parts[0][1]) == {None}
    assert sum(parts[0][2]) == 4 * SHAPE.params and len(parts[0][2]) > 1


def test_messages_begin_before_the_backward_pass_ends():
    """The first bucket is sent while earlier layers are still to be differentiated."""

    def spans(overlap):
        model, (x, y), order = models.build(SHAPE), samples(8), []
        network = DataParallel(model, SMALL, overlap)
        launch = network._launch
        network._launch = lambda: (order.append("message"), launch())
        model.layers[0].weight.register_post_accumulate_grad_hook(lambda _: order.append("last"))
        F.cross_entropy(network(x), y).backward()
        order.append("end")
        network.finish()
        return order, [(s.start_s, s.end_s) for s in network.spans]

    order, times = parallel.run(spans, True)[0]
    assert order.index("message") < order.index("last") and order[-1] == "end"
    assert all(0 < start < end for start, end in times)
    assert parallel.run(spans, False)[0][0][:2] == ["last", "end"]


def test_every_sample_is_used_once_an_epoch_in_the_order_of_the_library():
    for ranks in (1, 2, 3):
        seen, sizes = [], []
        for rank in range(ranks):
            parts = list(data.batches(70, 32, rank, ranks, epoch=3, seed=5))
            seen += [row for rows, _ in parts for row in rows.tolist()]
            sizes.append([n_all for _, n_all in parts])
        assert sorted(seen) == list(range(70)) and sizes == [[32, 32, 6]] * ranks
    sampler = DistributedSampler(range(64), 2, 1, seed=5)
    sampler.set_epoch(3)
    ours = torch.cat([rows for rows, _ in data.batches(64, 32, 1, 2, epoch=3, seed=5)])
    assert list(sampler) == ours.tolist()
    (this,), (next_one,) = (data.batches(64, 64, 0, 1, epoch) for epoch in (0, 1))
    assert not torch.equal(this[0], next_one[0])


def test_every_buffer_is_broadcast_whether_it_is_saved_or_not():
    def received():
        model = nn.Linear(1, 1)
        for name, persistent in (("saved", True), ("unsaved", False)):
            model.register_buffer(name, torch.full((2,), float(dist.get_rank())), persistent)
        data.broadcast(model)
        return model.saved.tolist() + model.unsaved.tolist()

    assert parallel.run(received, ranks=2) == [[0.0] * 4] * 2


def test_buckets_hold_every_parameter_once_from_last_to_first():
    model = models.build(SHAPE)
    names = [name for name, _ in model.named_parameters()]
    for size in (0, SMALL, 10**9):
        buckets = _make_buckets(model, size)
        assert [name for bucket in buckets for name, _ in bucket.named] == names[::-1]
        for bucket in buckets:
            assert bucket.flat.nbytes <= size or len(bucket.named) == 1
    assert len(_make_buckets(model, 0)) == len(names) and len(_make_buckets(model, 10**9)) == 1


def test_what_lies_scattered_in_memory_is_broadcast_too():
    """gloo sends memory as it lies: of another stride it would make other numbers."""

    def scattered():
        rank = dist.get_rank()
        network = nn.Linear(2, 3)
        lying = (torch.arange(6.0) + 10 * rank).view(2, 3).T
        network.weight = nn.Parameter(lying if rank else lying.contiguous())
        whole = torch.arange(16.0).view(4, 4) + 100 * rank
        network.register_buffer("part", whole[:, :2])
        data.broadcast(network)
        return network.weight.detach(), network.part, whole[:, 2:]

    first, second = parallel.run(scattered)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert torch.equal(second[2], first[2] + 100)  # the rest of its memory is as it was


def test_a_network_can_be_wrapped_again():
    """As in a cell that is run twice: the first wrapper's hooks are still on the network."""

    def twice():
        network = nn.Linear(4, 4)
        for _ in range(2):
            wrapped = DataParallel(network)
            for _ in range(2):
                wrapped.zero_grad()
                wrapped(torch.ones(2, 4) * dist.get_rank()).sum().backward()
                wrapped.finish()
        return network.weight.grad

    for gradient in parallel.run(twice):
        assert torch.equal(gradient, torch.ones(4, 4))  # the mean of 0 and 2


def test_a_refused_step_does_not_break_the_next():
    def refused_then_right():
        network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        wrapped = DataParallel(network, 0)
        network[1](torch.ones(3, 4)).sum().backward()
        with pytest.raises(ValueError, match="no gradient"):
            wrapped.finish()
        network.zero_grad()
        wrapped(torch.ones(3, 4)).sum().backward()
        wrapped.finish()
        return network[1].bias.grad

    for gradient in parallel.run(refused_then_right):
        assert torch.equal(gradient, torch.full((4,), 3.0))
