"""What a function on a rank finds and uses, under `parallel.run` and under torchrun alike.

Importing it loads no torch: the caller's side imports it too.
"""

import argparse
import inspect
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from .. import check

LIVE = "MODELSCALE_LIVE"  # set for the ranks of `run`, whose caller shows progress
_PACE_S = {True: 0.25, False: 1.0}  # seconds between two reports, live or in a shell
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # the interface's name, by platform
_PLAIN = "a command line holds single words and numbers: give the parameter such a default, or None"
_last = {"report": float("-inf")}  # when this process reported


def device():
    """The torch.device of this rank: a GPU of its own where each rank has one, else the CPU.

    MODELSCALE_DEVICE=cpu keeps it on the CPU.
    """
    import torch

    rank, ranks = os.environ.get("LOCAL_RANK", "0"), os.environ.get("LOCAL_WORLD_SIZE", "1")
    wanted = os.environ.get("MODELSCALE_DEVICE") != "cpu" and torch.cuda.is_available()
    own = wanted and torch.cuda.device_count() >= int(ranks)
    return torch.device("cuda", int(rank)) if own else torch.device("cpu")


def report(done: int, total: int, **values) -> None:
    """Tell how far this rank is (`done` of `total`), with values such as its loss.

    Under `run` the caller sees one line a rank that changes in place, at most four times a second.
    In a shell rank 0 prints a line, at most once a second. The last report always appears.
    """
    live, now = LIVE in os.environ, time.monotonic()
    if done < total and now < _last["report"] + _PACE_S[live]:
        return
    _last["report"] = now
    words = [f"{done}/{total}"]
    for name, value in values.items():
        words += [name, f"{float(value):.4g}" if hasattr(value, "__float__") else value]
    if live:
        print(*words, end="\r", flush=True)
    elif os.environ.get("RANK", "0") == "0":
        print("[rank 0]", *words, flush=True)


def main(fn: Callable, arguments: list[str] | None = None) -> None:
    """Call `fn` on this rank of torchrun, print what rank 0's returned, and exit.

    Its arguments come from the command line: `--steps 20` is `steps=20`, with the type of the
    default; a parameter without a default is given by its place, as text. Without torchrun there
    is one rank.
    """
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_joined)(fn, _parsed(fn, arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the group's own teardown can abort after a correct result


def join_group(timeout_s: float | None = None) -> None:
    """Initialise the process group that torchrun's environment describes.

    CPU tensors travel by gloo; where each rank has a GPU of its own, its tensors travel by nccl.
    One thread computes. `timeout_s` is how long a collective may take, torch's own default if None.
    """
    import torch
    import torch.distributed as dist

    from ..dial import settle

    settle()
    own = device()
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    where = {}
    if "RANK" not in os.environ:  # a plain `python`, where nobody else is
        keep_to_loopback(os.environ)
        where = {"store": dist.HashStore(), "rank": 0, "world_size": 1}
    limit = None if timeout_s is None else timedelta(seconds=timeout_s)
    dist.init_process_group(backend, timeout=limit, **where)


def keep_to_loopback(env) -> None:
    """Tell gloo, in the environment `env`, to use the loopback interface alone."""
    env.pop("GLOO_SOCKET_IFNAME", None)
    if sys.platform in _LOOPBACK:
        env["GLOO_SOCKET_IFNAME"] = _LOOPBACK[sys.platform]


def _parsed(fn, arguments=None):
    """The keyword arguments for `fn` that stand on a command line."""
    parser = argparse.ArgumentParser(description=(inspect.getdoc(fn) or "").partition("\n")[0])
    for name, parameter in inspect.signature(fn).parameters.items():
        default = parameter.default
        if default is parameter.empty:
            parser.add_argument(name)
        elif isinstance(default, bool):
            parser.add_argument(f"--{name}", default=default, action=argparse.BooleanOptionalAction)
        else:
            kind = str if default is None else type(default)
            check.one_of(f"the type of {name}", kind.__name__, ("str", "int", "float"), _PLAIN)
            parser.add_argument(f"--{name}", default=default, type=kind)
    return vars(parser.parse_args(arguments))


def _joined(fn, kwargs):
    import torch.distributed as dist

    join_group()
    result = fn(**kwargs)
    dist.barrier()  # one that left now would cut the connections of those still at work
    if dist.get_rank() == 0 and result is not None:
        print(result, flush=True)
