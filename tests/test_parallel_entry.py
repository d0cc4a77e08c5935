"""Proves that one function runs alike from a cell, in a shell, and under torchrun on one node and
on two, that its arguments come from the command line, and that it finds its own device."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys

import psutil
import pytest
import torch
import torch.distributed as dist

from modelscale import parallel
from modelscale.parallel import entry
from processes import ROOT, gone, surroundings

SMALL = {"steps": 3, "layers": 1, "width": 16, "batch_size": 4}  # of experiments/train.py
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
FUNCTION = '''
import os, torch, torch.distributed as dist
from modelscale import parallel

def total(scale=1, fail=False):
    """The sum of the ranks, and where this one is."""
    if fail and dist.get_rank() == 1:
        raise ValueError("no such layer")
    x = torch.tensor(dist.get_rank() * scale)
    dist.all_reduce(x)
    networks = [None] * dist.get_world_size()
    dist.all_gather_object(networks, os.readlink("/proc/self/ns/net"))
    return {"sum": x.item(), "ranks": len(networks), "networks": len(set(networks))}

if __name__ == "__main__":
    parallel.main(total)
'''


linux = pytest.mark.skipif(sys.platform != "linux", reason="only here networks have files")


@pytest.fixture
def loss(monkeypatch):
    """The loss after three steps of experiments/train.py on one rank: others must reach it."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from train import train

    return parallel.run(lambda: train(**SMALL), ranks=1)[0]["loss"]


def torchrun(tmp_path, *options, prefix=(), **more):
    """A started torchrun, whose command may have a prefix."""
    own = surroundings(tmp_path, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1") | more
    command = [*prefix, sys.executable, "-m", "torch.distributed.run", *map(str, options)]
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=tmp_path, env=own, stdout=out, stderr=out, text=True)


def last(process, within_s=120):
    """What rank 0 returned: the dictionary on the last line."""
    out, err = process.communicate(timeout=within_s)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1].replace("'", '"')) if out.strip() else None


def test_training_is_the_same_on_one_rank_on_two_and_under_torchrun(tmp_path, loss):
    from train import train

    file = ROOT / "experiments" / "train.py"
    shell = torchrun(tmp_path, "--standalone", "--nproc-per-node=2", file, *OPTIONS)
    cell = parallel.run(lambda: train(**SMALL))
    under = last(shell)
    assert [result["ranks"] for result in (*cell, under)] == [2, 2, 2]
    assert all(abs(result["loss"] - loss) < 1e-5 for result in (*cell, under))


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from train import train

    with pytest.raises(parallel.RankError, match=r"ranks=2: it must be a divisor of batch_size=3"):
        parallel.run(lambda: train(steps=1, batch_size=3))


def test_a_failure_under_torchrun_names_the_rank_that_caused_it(tmp_path):
    (tmp_path / "mine.py").write_text(FUNCTION)
    shell = torchrun(tmp_path, "--standalone", "--nproc-per-node=2", "mine.py", "--fail")
    children = psutil.Process(shell.pid).children(recursive=True)
    _, err = shell.communicate(timeout=120)
    assert shell.returncode == 1 and gone([child.pid for child in children])
    cause = err[err.index("Root Cause") :]
    assert "ValueError: no such layer" in cause and "rank      : 1 (local_rank: 1)" in cause


def two_nodes(tmp_path, endpoint, nodes):
    """What rank 0 returned of two nodes, each with a rank, an address and an interface."""
    (tmp_path / "mine.py").write_text(FUNCTION)
    options = (
        f"--nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-endpoint={endpoint}".split()
    )
    job = ["-m", "modelscale.parallel", "mine:total", "--scale", "5"]
    started = []
    try:
        for host, (prefix, address, interface) in zip((1, 0), nodes, strict=True):
            own = [f"--rdzv-conf=is_host={host},join_timeout=60", f"--local-addr={address}"]
            env = {"GLOO_SOCKET_IFNAME": interface, "prefix": prefix}
            started.append(torchrun(tmp_path, *options, *own, *job, **env))
        results = [last(node) for node in started]
    finally:
        for node in started:
            node.kill()
            node.communicate()
    return next(result for result in results if result)


@linux
def test_two_nodes_on_loopback(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    result = two_nodes(tmp_path, endpoint, [((), "127.0.0.1", "lo")] * 2)
    assert result == {"sum": 5, "ranks": 2, "networks": 1}


@linux
def test_two_nodes_that_share_nothing_but_a_network(tmp_path, namespaces):
    nodes = [(("ip", "netns", "exec", name), address, link) for name, link, address in namespaces]
    result = two_nodes(tmp_path, f"{nodes[0][1]}:29400", nodes)
    assert result == {"sum": 5, "ranks": 2, "networks": 2}
    for name, *_ in namespaces:
        assert ip("netns", "pids", name) == ""


@pytest.fixture
def namespaces():
    """Two network namespaces, joined by a cable: (name, interface, address) of each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command `ip`")
    ends = [(f"ms{os.getpid()}{i}", f"veth{i}", f"10.77.0.{i}") for i in (1, 2)]
    names, links, _ = zip(*ends, strict=True)
    try:
        for name in names:
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
            inside = subprocess.run(["ip", "-n", name, "link"], capture_output=True)
            if made.returncode or inside.returncode:  # within a chroot the first succeeds alone
                pytest.skip("this system lets no network namespace be made")
        far_end = ("peer", "name", links[1], "netns", names[1])
        ip("link", "add", links[0], "netns", names[0], "type", "veth", *far_end)
        for name, link, address in ends:
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            for interface in (link, "lo"):
                ip("-n", name, "link", "set", interface, "up")
        yield ends
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def ip(*words):
    """What the command of that name prints."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ["os.path:joined", "no_such_module:function", ":join"])
def test_a_function_that_cannot_be_imported_is_told(name):
    command = [sys.executable, "-m", "modelscale.parallel", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(f"{name} is no function"), done.stderr
    assert "check its spelling" in done.stderr and "Traceback" not in done.stderr


def test_arguments_take_the_type_of_their_default():
    def fn(path, steps=3, lr=0.1, name="x", check=True, note=None):
        """First line.

        More.
        """

    words = ["data", "--steps", "5", "--lr", "1e-3", "--no-check"]
    expected = {"path": "data", "steps": 5, "lr": 1e-3, "name": "x", "check": False, "note": None}
    assert entry._parsed(fn, words) == expected
    with pytest.raises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        entry._parsed(fn, ["data", "--steps", "many"])


def test_a_default_that_no_command_line_can_give_is_refused():
    with pytest.raises(ValueError, match=r"the type of sizes='tuple'.*single words and numbers"):
        entry._parsed(lambda sizes=(1, 2): None, ["--sizes", "3,4"])


def test_without_torchrun_there_is_one_rank_and_nothing_listens_beyond_loopback(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import psutil\n"
        "from modelscale import parallel\n"
        "import torch.distributed as dist\n"
        "def fn():\n"
        "    ports = [c for c in psutil.Process().net_connections() if c.status == 'LISTEN']\n"
        "    print(dist.get_rank(), dist.get_world_size(), {port.laddr.ip for port in ports})\n"
        "parallel.main(fn)\n"
    )
    command, env = [sys.executable, "mine.py"], surroundings(tmp_path)
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("0 1 {'127.0.0.1'}\n", 0), done.stderr


@pytest.mark.parametrize(
    ("gpus", "ranks", "wanted", "device", "backend"),
    [
        (0, 2, None, "cpu", "gloo"),
        (1, 2, None, "cpu", "gloo"),
        (2, 2, None, "cuda:1", "cpu:gloo,cuda:nccl"),
        (2, 2, "cpu", "cpu", "gloo"),
    ],
)
def test_a_rank_has_a_gpu_where_each_has_one(monkeypatch, gpus, ranks, wanted, device, backend):
    made, set_devices = [], []
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": ranks}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("MODELSCALE_DEVICE", raising=False)
    if wanted:
        monkeypatch.setenv("MODELSCALE_DEVICE", wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", set_devices.append)
    monkeypatch.setattr(dist, "init_process_group", lambda name, **_: made.append(name))
    entry.join_group()
    assert str(parallel.device()) == device and made == [backend]
    assert [str(d) for d in set_devices] == ([device] if device != "cpu" else [])
