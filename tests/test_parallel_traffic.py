"""Proves that ranks send what `count` says: by the calls that the meter notes and by the system's
own count of bytes, forward and backward."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cloudpickle
import pytest
import torch
import torch.distributed as dist

from modelscale import count, models, parallel
from modelscale.parallel import collectives, tensor, traffic

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

SHAPE = count.Transformer(1, 32, 4, 60, 24)
TOKENS = 1024


def written_bytes():
    """The bytes this process has written, to other processes or to files; None off Linux."""
    counters = Path("/proc/self/io")
    return int(counters.read_text().split("wchar: ")[1].split()[0]) if counters.exists() else None


def sent_by_layer(sequence):
    """(bytes by the meter, bytes by the kernel, calls) of a block's forward and backward pass."""
    group = dist.group.WORLD
    block = tensor.split(models.build(SHAPE).blocks[0], group, sequence)
    x = torch.randn(2, TOKENS // (group.size() if sequence else 1), SHAPE.d_model)
    x.requires_grad_()
    for parameter in block.parameters():  # what follows is the layer's own traffic alone
        parameter.requires_grad_(False)
    block(x).sum().backward()  # connects the ranks
    dist.barrier()
    with traffic.Meter() as meter:
        before = written_bytes()
        y = block(x)
        between = written_bytes()
        forward = meter.sent_bytes(group.size())
        y.sum().backward()
        after = written_bytes()
    backward = meter.sent_bytes(group.size()) - forward
    written = None if before is None else (between - before, after - between)
    return (forward, backward), written, Counter(name for name, _ in meter.calls)


@pytest.mark.parametrize(
    ("sequence", "calls"),
    [(False, {"all_reduce": 4}), (True, {"all_gather": 4, "all_to_all": 4})],
)
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_layer_sends_the_bytes_that_are_counted(ranks, sequence, calls):
    wanted = count.tensor_parallel_bytes(SHAPE, 2, TOKENS, ranks)
    for noted, written, counts in parallel.run(sent_by_layer, sequence, ranks=ranks):
        assert noted == (wanted, wanted)
        assert counts == calls
        if written is not None:  # Linux
            assert written == pytest.approx((wanted, wanted), rel=0.01)


def test_the_meter_names_every_collective_and_its_bytes():
    def all_kinds():
        group, x = dist.group.WORLD, torch.ones(2, 8, 4)
        with traffic.Meter() as meter:
            collectives.all_reduce(x, group)
            collectives.gather_tokens(x, group)
            collectives.scatter_tokens(x, group)
            dist.reduce_scatter_single(x[:1].clone(), x)
            peer = 1 - group.rank()
            ops = [dist.P2POp(dist.isend, x, peer), dist.P2POp(dist.irecv, x.clone(), peer)]
            for work in dist.batch_isend_irecv(ops):
                work.wait()
        return meter.calls, meter.sent_bytes(2)

    names = ["all_reduce", "all_gather", "all_to_all", "reduce_scatter", "send"]
    calls, sent = parallel.run(all_kinds, ranks=2)[0]
    assert calls == list(zip(names, [256, 512, 256, 256, 256], strict=True))
    assert sent == 256 + 256 + 128 + 128 + 256


def test_bytes_of_collectives_follow_the_ring():
    assert count.sent_bytes("all_reduce", 100, 4) == 150
    assert (
        count.sent_bytes("all_gather", 100, 4) == count.sent_bytes("reduce_scatter", 100, 4) == 75
    )
    assert count.sent_bytes("all_to_all", 100, 1) == 0
    assert count.tensor_parallel_bytes(SHAPE, 2, 8, 2, "bfloat16") == 2 * 2 * 8 * 32 * 2
    with pytest.raises(ValueError, match="collective='gossip'"):
        count.sent_bytes("gossip", 1, 2)
    with pytest.raises(ValueError, match="dtype='int8'"):
        count.tensor_parallel_bytes(SHAPE, 1, 1, 2, "int8")


def test_the_meter_does_not_load_the_compiler():
    """In an interpreter of its own: the server of ranks may have loaded it for other tests."""
    lines = [
        "import sys, torch, torch.distributed as dist",
        "from modelscale.parallel import entry, collectives, traffic",
        "entry.join_group()",
        "with traffic.Meter() as meter:",
        "    collectives.all_reduce(torch.ones(2), dist.group.WORLD)",
        "print('torch._dynamo' in sys.modules, meter.calls)",
    ]
    env = {name: value for name, value in os.environ.items() if name != "RANK"}
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "False [('all_reduce', 8)]", done.stderr


def test_lists_of_tensors_count_whole():
    def lists():
        x = torch.ones(8)  # 32 bytes
        with traffic.Meter() as meter:
            dist.all_gather([torch.empty(8) for _ in range(2)], x)
            dist.reduce_scatter(torch.empty(8), [x, x])
        return sorted(meter.calls), meter.sent_bytes(2)

    for calls, sent in parallel.run(lists):
        assert calls == [("all_gather", 64), ("reduce_scatter", 64)]
        assert sent == 64
