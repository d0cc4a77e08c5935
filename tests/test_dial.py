"""Proves that one dial sets sizes, seed, device and threads, from the call or the environment."""

import os
import signal
import subprocess
import sys

import pytest
import torch

import modelscale
from modelscale import dial
from modelscale.dial import Dial


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("MODELSCALE_SIZE", "MODELSCALE_SEED", "MODELSCALE_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    recorded = {
        "reference": {"quick": {"probe_s": 0.01}, "default": {"probe_s": 0.01}},
        "some_notebook": {"quick": None, "default": 42.0, "large": 7},
    }
    monkeypatch.setattr(dial, "_runtimes", lambda: recorded)


def test_the_default_is_the_default(capsys):
    made = modelscale.start("some_notebook")
    assert made == Dial("some_notebook", "default", torch.device("cpu"), 0)
    assert made(quick=1, default=2, large=3) == 2
    printed = capsys.readouterr().out
    assert "size default" in printed and f"torch {torch.__version__}" in printed
    assert "some_notebook: about" in printed and "40 s where it was recorded" in printed


def test_the_environment_sets_what_the_call_leaves_open(monkeypatch, capsys):
    monkeypatch.setenv("MODELSCALE_SIZE", "quick")
    monkeypatch.setenv("MODELSCALE_SEED", "7")
    assert modelscale.start("some_notebook") == Dial(
        "some_notebook", "quick", torch.device("cpu"), 7
    )
    assert "has not been timed in size quick" in capsys.readouterr().out
    assert modelscale.start("some_notebook", size="large", seed=3).size == "large"


def test_large_on_a_cpu_says_that_it_will_take_long(monkeypatch, capsys):
    monkeypatch.setenv("MODELSCALE_DEVICE", "cpu")
    modelscale.start("some_notebook", size="large")
    printed = capsys.readouterr().out
    assert "large is for a GPU" in printed and "where it was recorded" not in printed
    modelscale.start("some_notebook")
    assert "large is for a GPU" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MODELSCALE_SIZE", "huge", "size='huge': it must be one of 'quick', 'default', 'large'"),
        ("MODELSCALE_SEED", "-1", "MODELSCALE_SEED='-1'"),
        ("MODELSCALE_SEED", "²", "MODELSCALE_SEED='²'"),
        ("MODELSCALE_DEVICE", "tpu", "MODELSCALE_DEVICE='tpu'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        modelscale.start("some_notebook")
    monkeypatch.delenv(name)
    with pytest.raises(ValueError, match="notebook='other'"):
        modelscale.start("other")


def test_seeds_of_different_base_seeds_never_meet():
    one, two = (
        Dial("some_notebook", "quick", torch.device("cpu"), seed).seeds(1000) for seed in (0, 1)
    )
    assert len(set(one + two)) == 2000 and one[:3] == Dial("other", "quick", None, 0).seeds(3)
    with pytest.raises(ValueError, match="n=0"):
        Dial("other", "quick", None, 0).seeds(0)


def test_start_and_only_start_sets_one_thread():
    torch.set_num_threads(2)
    modelscale.dial.describe_machine()
    assert torch.get_num_threads() == 2
    modelscale.start("some_notebook")
    assert torch.get_num_threads() == 1


def test_the_machine_is_described_without_names_of_people_or_hosts():
    line = modelscale.dial.describe_machine()
    assert f"{os.cpu_count()} cores" in line and f"torch {torch.__version__}" in line
    assert os.uname().nodename not in line if hasattr(os, "uname") else True


def test_an_interrupted_import_is_completed_first(monkeypatch):
    """The learner's interrupt arrives in the middle of the import, and is raised behind it."""
    done = []

    def slow_import(name):
        os.kill(os.getpid(), signal.SIGINT)
        done.append(name)

    monkeypatch.setattr(dial.importlib, "import_module", slow_import)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        dial._import_whole("some.module")
    assert done == ["some.module"]
    assert signal.getsignal(signal.SIGINT) is before


def test_after_start_no_interrupt_can_break_torch():
    code = (
        "import sys, modelscale\n"
        "from modelscale import count, models; from modelscale.train.loop import make_optimizer\n"
        "from modelscale.train import Recipe\n"
        "modelscale.start('00_your_machine'); before = set(sys.modules)\n"
        "net = models.build(count.MLP(1, 4))\n"
        "make_optimizer(net.parameters(), Recipe()); net(__import__('torch').ones(1, 40))\n"
        "late = {m.split('.')[0] for m in set(sys.modules) - before} - {'modelscale'}\n"
        "print('late:', sorted(late & {'sympy', 'torch'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "late: []" in run.stdout
