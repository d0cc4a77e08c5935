"""Proves that every stage of ZeRO by hand ends with the weights of one process and of torch's own
sharded training, and sends what it should, one layer at a time.
"""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from modelscale import count, models, parallel
from modelscale.parallel import data
from modelscale.parallel.traffic import Meter
from modelscale.parallel.zero import Zero

SHAPE = count.MLP(depth=3, width=30, n_in=39, n_out=7)  # no rank count divides every layer
N, BATCH, STEPS = 240, 12, 20
OPTIMIZERS = {"sgd": (torch.optim.SGD, 0.1, 1e-6), "adamw": (torch.optim.AdamW, 1e-2, 5e-5)}
LAYERS = [39 * 30 + 30, 30 * 30 + 30, 30 * 30 + 30, 30 * 7 + 7]


@pytest.fixture(scope="module", autouse=True)
def slow_modules_are_imported():
    """Once, by the server that ranks are forked from, where it is not running yet."""
    parallel.warm_up("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.optim")


def steps(network, finish):
    """Train for one epoch; `finish(loss)` goes back and on."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(N, 39, generator=generator), torch.randint(7, (N,), generator=generator)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for rows, _ in data.batches(N, BATCH, rank, ranks):
        finish(F.cross_entropy(network(x[rows]), y[rows]))


def by_hand(stage, optimizer):
    """The weights; calls of a step; gathered bytes."""
    kind, lr, _ = OPTIMIZERS[optimizer]
    zero = Zero(models.build(SHAPE, seed=dist.get_rank()), stage, kind, lr=lr)
    calls, gathered = [], []

    def look(*_):
        gathered.append(sum(unit.flat.untyped_storage().nbytes() for unit in zero.units))

    for layer in zero.network.layers:
        layer.register_forward_pre_hook(look)  # after those that gather

    def finish(loss):
        with Meter() as meter:
            loss.backward()
            zero.step()
            zero.weights() if stage == 3 else None  # a forward pass gathers as much
        calls[:] = [n_bytes for _, n_bytes in meter.calls]

    steps(zero, finish)
    return zero.weights(), calls, max(gathered)


def library(kind, optimizer):
    """The weights of torch's own: an optimizer that splits its states, or all split."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model, (make, lr, _) = models.build(SHAPE), OPTIMIZERS[optimizer]
    network = model
    if kind == "optimizer":
        network = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        stepper = ZeroRedundancyOptimizer(model.parameters(), make, lr=lr)
    else:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for part in (*model.layers, model):
            fully_shard(part, mesh=mesh)
        stepper = make(model.parameters(), lr=lr)

    def finish(loss):
        stepper.zero_grad()
        loss.backward()
        stepper.step()

    steps(network, finish)
    full = [p.full_tensor() if kind == "all" else p for p in model.parameters()]
    return torch.cat([p.detach().flatten() for p in full])


def everything(libraries):
    hand = {(s, o): by_hand(s, o) for s in range(4) for o in OPTIMIZERS}
    kinds = ("optimizer", "all") if libraries else ()
    return hand, {(kind, o): library(kind, o) for kind in kinds for o in OPTIMIZERS}


@pytest.fixture(scope="module")
def runs():
    """What each rank found, by the number of ranks."""
    return {p: parallel.run(everything, p == 2, ranks=p, timeout_s=120) for p in (1, 2, 3)}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_stage_ends_with_the_weights_of_one_process(runs, ranks):
    for hand, _ in runs[ranks]:
        for (_, optimizer), (weights, *_) in hand.items():
            one = runs[1][0][0][0, optimizer][0]
            assert float((weights - one).abs().max()) < OPTIMIZERS[optimizer][2]


def test_the_library_ends_with_the_same_weights(runs):
    for hand, libraries in runs[2]:
        for (_, optimizer), weights in libraries.items():
            by_hand = hand[1, optimizer][0]
            assert float((weights - by_hand).abs().max()) < OPTIMIZERS[optimizer][2]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_stages_send_as_much_as_an_all_reduce_and_the_last_half_more(runs, ranks):
    padded = sum(-(-n // ranks) * ranks for n in LAYERS) * 4
    once = (ranks - 1) / ranks * padded
    for hand, _ in runs[ranks]:
        for (stage, _), (_, calls, gathered) in hand.items():
            assert sum(calls) == pytest.approx(once * (3 if stage == 3 else 2))
            assert len(calls) == (ranks - 1) * len(LAYERS) * (3 if stage == 3 else 2)
            largest = -(-max(LAYERS) // ranks) * ranks * 4
            assert gathered == (largest if stage == 3 else padded)  # one layer at a time


def test_backward_passes_add_up_and_early_stages_send_once():
    def parts(stage, n):
        zero = Zero(models.build(SHAPE), stage, torch.optim.SGD, lr=0.1)
        x = torch.randn(4, 39, generator=torch.Generator().manual_seed(dist.get_rank()))
        with Meter() as meter:
            for part in x.chunk(n):
                (zero(part).square().sum() / 4).backward()
            in_passes = sum(n_bytes for _, n_bytes in meter.calls)
            zero.step()
        return zero.weights(), in_passes

    def everything():
        return [(parts(stage, 1), parts(stage, 2)) for stage in range(4)]

    for stage, ((whole, _), (added, in_passes)) in enumerate(parallel.run(everything)[0]):
        assert float((whole - added).abs().max()) < 1e-6
        assert (in_passes == 0) == (stage < 2)


def test_a_gradient_of_the_input_alone_leaves_no_outdated_weights():
    """It gathers layers that no later backward pass drops again."""

    def losses(extra):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        zero, x = Zero(network, 3, torch.optim.SGD, lr=0.5), torch.randn(4, 4, requires_grad=True)
        found = []
        for _ in range(3):
            loss = (zero(x) - 1).square().mean()
            loss.backward()
            if extra:
                torch.autograd.grad(zero(x).sum(), x)
            zero.step()
            found.append(loss.item())
        return found

    assert parallel.run(losses, True) == parallel.run(losses, False)
