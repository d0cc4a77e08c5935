"""Proves that ranks send what `count` says: by the calls that the meter notes and by the system's
own count of bytes, forward and backward; and that their time is taken from a common start."""

import os
import subprocess
import sys
import time

import cloudpickle
import pytest
import torch
import torch.distributed as dist

from modelscale import count, models, parallel
from modelscale.parallel import operators, tensor, traffic

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks need not import pytest

SHAPE = count.Transformer(1, 32, 4, 60, 24)
TOKENS = 1024


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
        before = traffic.written_bytes()
        y = block(x)
        between = traffic.written_bytes()
        forward = meter.sent_bytes(group.size())
        y.sum().backward()
        after = traffic.written_bytes()
    backward = meter.sent_bytes(group.size()) - forward
    written = None if before is None else (between - before, after - between)
    return (forward, backward), written, meter.counts


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
            operators.all_reduce(x, group)
            operators.all_gather(x, group)
            operators.reduce_scatter(x, group)
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


def test_time_is_taken_from_where_all_ranks_begin_and_not_the_first_times():
    def timed():
        group, calls = dist.group.WORLD, []

        def slow_at_first():
            calls.append(None)
            time.sleep(1.0 if len(calls) < 3 else 0.0)

        def late_afterwards():  # the next sum waits for rank 1, unless the ranks begin together
            dist.all_reduce(torch.ones(1))
            time.sleep(0.4 * group.rank())

        first = traffic.wall_s(slow_at_first, group, timings=1)
        return first, len(calls), traffic.wall_s(late_afterwards, group, timings=3)

    (first, calls, prompt), (_, _, late) = parallel.run(timed, ranks=2)
    assert calls == 3 and first < 0.4
    assert prompt < 0.3 and late >= 0.4  # a busy machine may take longer, not so much


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
        "from modelscale.parallel import entry, operators, traffic",
        "entry.join_group()",
        "with traffic.Meter() as meter:",
        "    operators.all_reduce(torch.ones(2), dist.group.WORLD)",
        "print('torch._dynamo' in sys.modules, meter.counts)",
    ]
    env = {name: value for name, value in os.environ.items() if name != "RANK"}
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "False {'all_reduce': 1}", done.stderr


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
