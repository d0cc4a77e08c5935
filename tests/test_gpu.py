"""Proves that what the course does on a CPU it does on a GPU too: the same losses, the same
parallel code on one rank that talks by nccl, the memory that was counted. Skipped without a GPU.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn import functional as F

from modelscale import count, data, growth, machine, models, parallel, transfer
from modelscale.parallel.buckets import DataParallel
from modelscale.parallel.data import average_gradients
from modelscale.parallel.zero import Zero
from modelscale.train import Recipe, fit, fit_many
from test_models_cache import written

ROOT = Path(__file__).resolve().parent.parent
GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

SHAPES = {
    "MLP": count.MLP(3, 64, residual=True),
    "conv net": count.ConvNet(2, 16),
    "GPT": count.Transformer(2, 64, 4, 256, 32),
    "rotary GPT": count.Transformer(2, 64, 4, 256, 32, n_kv_head=2, positions="rotary"),
    "mixture": count.Transformer(1, 32, 2, 256, 16, n_expert=4, n_expert_active=2),
}
RECIPE = Recipe(steps=20, batch_size=16, records=2)


def task_of(shape):
    if isinstance(shape, count.Transformer):
        return data.text(200_000)
    return data.signals(500, n_test=200, seed=0)


@pytest.mark.parametrize("name", SHAPES)
def test_training_goes_as_on_the_cpu(name):
    shape = SHAPES[name]
    histories = [
        fit(models.build(shape, 1).to(device), task_of(shape), RECIPE) for device in ("cpu", GPU)
    ]
    for here, there in zip(*(h.loss + h.test_loss for h in histories), strict=True):
        assert here == pytest.approx(there, abs=2e-3)


def test_many_networks_at_once_end_where_each_would_alone():
    shape, task, seeds = SHAPES["MLP"], task_of(SHAPES["MLP"]), (0, 1, 2)
    together = fit_many([models.build(shape, s).to(GPU) for s in seeds], task, RECIPE, seeds)
    for seed, history in zip(seeds, together, strict=True):
        alone = fit(models.build(shape, seed).to(GPU), task, RECIPE, seed)
        assert history.last["test_loss"] == pytest.approx(alone.last["test_loss"], abs=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own
def test_bfloat16_and_compilation_change_speed_and_not_the_loss():
    shape, task = SHAPES["GPT"], task_of(SHAPES["GPT"])
    recipe = Recipe(steps=60, batch_size=32, records=1)
    model, half = models.build(shape).to(GPU), replace(recipe, precision="bfloat16")
    losses = [fit(model, task, recipe).test_loss[-1]]
    compiled = torch.compile(models.build(shape).to(GPU))
    losses.append(fit(compiled, task, half).test_loss[-1])
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_a_run_that_was_cut_off_goes_on(tmp_path):
    shape, task = SHAPES["GPT"], task_of(SHAPES["GPT"])
    whole = fit(models.build(shape).to(GPU), task, RECIPE)
    path = tmp_path / "run.safetensors"
    fit(models.build(shape).to(GPU), task, RECIPE, callback=lambda *_: True, path=path)
    rest = fit(models.build(shape).to(GPU), task, RECIPE, path=path)
    assert rest.test_loss[-1] == pytest.approx(whole.test_loss[-1], abs=1e-4)


def test_the_gpu_is_measured_and_its_step_times_predicted():
    box = machine._measure(GPU, budget_s=4)
    for dtype in ("float32", "bfloat16"):
        assert box.flops_per_s(4096, 4096, 4096, dtype) > 100 * box.flops_per_s(64, 64, 64, dtype)
    assert box.flops_per_s(8192, 8192, 8192, "bfloat16") > 2 * box.flops_per_s(8192, 8192, 8192)
    for shape in (count.MLP(8, 32), count.MLP(3, 4096)):
        said, took = machine.predict_step(box, shape, 128), machine.step_s(shape, 128, GPU)
        assert 0.3 < said.step_s / took < 3


def test_saved_bytes_are_what_the_forward_pass_leaves_on_the_gpu():
    shape = count.Transformer(4, 256, 4, 256, 128)
    network, tokens = models.build(shape).to(GPU), torch.randint(256, (16, 128), device=GPU)
    for recompute in ("none", "full"):
        network.for_training(recompute)
        F.cross_entropy(network(tokens).flatten(0, 1), tokens.flatten()).backward()  # warms up
        network.zero_grad()
        before = torch.cuda.memory_allocated()
        loss = F.cross_entropy(network(tokens).flatten(0, 1), tokens.flatten())
        held = torch.cuda.memory_allocated() - before
        said = count.saved_bytes(shape, 16, 128, "float32", recompute)
        assert held == pytest.approx(said, rel=0.15)
        del loss


def test_grown_and_adapted_networks_stay_where_they_are_and_compute_the_same():
    x = torch.randn(8, 40, device=GPU)
    model = models.build(count.MLP(2, 16), 0).to(GPU)
    changed = {
        "wider": growth.widen(model, width=32),
        "deeper": growth.deepen(model, depth=4),
        "adapted": transfer.add_lora(model, rank=2),
    }
    for kind, network in changed.items():
        assert torch.allclose(network(x), model(x), atol=1e-5), kind


def test_a_cache_generates_the_same_tokens():
    model = models.build(SHAPES["rotary GPT"]).to(GPU)
    prompt = torch.randint(256, (2, 8), device=GPU)
    cache = models.Cache(model.shape, 2, 28, model.embed.weight)
    assert torch.equal(written(model, prompt, 20), written(model, prompt, 20, cache))


def test_one_rank_talks_by_nccl_and_two_on_one_gpu_by_gloo():
    def where():
        x = torch.ones(3, device=parallel.device())
        dist.all_reduce(x)
        return x.device.type, dist.get_backend_config(), x.tolist()

    (one,) = parallel.run(where, ranks=1)
    assert one[0] == GPU and "cuda:nccl" in one[1] and one[2] == [1.0] * 3
    ranks = torch.cuda.device_count() + 1
    assert [r[0] for r in parallel.run(where, ranks=ranks)] == ["cpu"] * ranks


def trained(kind):
    """All weights after an epoch of SGD, alone or by one of the ways to share a batch."""
    device, shape = parallel.device(), count.MLP(3, 30, n_in=39, n_out=7)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(240, 39, generator=generator).to(device)
    y = torch.randint(7, (240,), generator=generator).to(device)
    model = models.build(shape).to(device)
    network = FORMS[kind](model)
    optimizer = network if isinstance(network, Zero) else torch.optim.SGD(model.parameters(), 0.1)
    for rows in torch.arange(240, device=device).split(12):
        model.zero_grad()
        F.cross_entropy(network(x[rows]), y[rows]).backward()
        if kind == "a message a gradient":
            average_gradients(model)
        elif kind == "buckets":
            network.finish()
        optimizer.step()
    if isinstance(network, Zero):
        return network.weights().cpu()
    parts = [getattr(p, "full_tensor", lambda p=p: p)() for p in model.parameters()]
    return torch.cat([p.detach().flatten() for p in parts]).cpu()


def sharded(model):
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model)


FORMS = {
    "one process": lambda model: model,
    "a message a gradient": lambda model: model,
    "buckets": lambda model: DataParallel(model, 5000),
    "library": lambda model: torch.nn.parallel.DistributedDataParallel(model),
    "library, sharded": sharded,
}
FORMS |= {
    f"ZeRO {stage}": lambda model, stage=stage: Zero(model, stage, torch.optim.SGD, lr=0.1)
    for stage in range(4)
}


def test_every_form_of_data_parallelism_equals_one_process_on_one_rank_of_nccl():
    def all_of_them():
        return {kind: trained(kind) for kind in FORMS}

    (found,) = parallel.run(all_of_them, ranks=1, timeout_s=120)
    for kind, weights in found.items():
        assert float((weights - found["one process"]).abs().max()) < 1e-6, kind


def test_the_trainer_runs_under_torchrun_in_bfloat16():
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1"]
    line = ["experiments/train.py", "--steps", "30", "--precision", "bfloat16"]
    done = subprocess.run([*launch, *line], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'ranks': 1" in done.stdout
