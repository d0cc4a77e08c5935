"""`make setup` says in one line what is missing, and makes again what is broken, without network.

The script runs in an empty folder, with nothing on PATH but what the test puts there: fake Pythons
that print a version, a fake df, and a fake venv module that makes a fake environment.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = "awk cat cksum cp dirname ls mkdir rm sed sh uname"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="make is for Linux and macOS")

# Answers the script's questions in the words of a real Python, and notes what it is asked to do.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *"import venv, ensurepip"*) exit {venv} ;;
    *"import pip"*) exit 0 ;;
    "-m venv .venv") mkdir -p .venv/bin .venv/lib/python3.12/site-packages
        cp "$0" .venv/bin/python ;;
    "-m pip"*) echo "$*" >>pip.log
        echo "Collecting all"
        mkdir -p .venv/lib/python3.12/site-packages/numpy-2.dist-info
        exit {pip} ;;
esac
"""


class Checkout:
    """A folder with the set-up script, and a PATH of its own."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder / "course", folder / "bin"
        (self.folder / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("scripts/setup.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder / name)
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.df(100_000)

    def command(self, name: str, text: str):
        """Puts an executable on PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, name="python3", version="3.12", venv=0, pip=0):
        """Puts a Python on PATH; `venv` and `pip` are the exit codes of those modules."""
        self.command(name, FAKE_PYTHON.format(version=version, venv=venv, pip=pip))

    def df(self, free_mb: int):
        """Sets what df says is free."""
        line = f"/dev/disk with name 1 1 {free_mb * 1024} 9% /Volumes/My Disk"
        self.command("df", f"#!/bin/sh\necho Filesystem\necho '{line}'\n")

    def setup(self, **variables):
        """(exit code, everything printed) of the script."""
        done = subprocess.run(
            ["sh", "scripts/setup.sh"],
            cwd=self.folder,
            env={"PATH": str(self.bin), "TORCH_CPU_INDEX": "index-of-cpu-builds", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    def refused(self, **variables) -> str:
        """The one line of a set-up that could not be."""
        code, said = self.setup(**variables)
        assert code != 0
        assert said.startswith("setup: "), said
        assert said.count("\n") == 1, said
        assert not (self.folder / ".venv").exists()
        return said

    def made(self, **variables) -> str:
        """What a set-up that worked has printed."""
        code, said = self.setup(**variables)
        assert code == 0, said
        return said

    def installs(self) -> list[str]:
        """The arguments of every pip so far."""
        log = self.folder / "pip.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


OLD = {v: lambda c, v=v: c.python(version=v) for v in ("3.9", "3.10", "3.14", "2.7")}
REFUSED = [  # what is there, the variables set, what is said
    (lambda c: None, {}, "no Python found. Install Python 3.11, 3.12 or 3.13"),
    *[(old, {}, rf"Python {v} \(.*does not fit. Install Python 3.11") for v, old in OLD.items()],
    (Checkout.python, {"PYTHON": "nowhere/python"}, "PYTHON=nowhere/python does not run"),
    (Checkout.python, {"TORCH": "gpu"}, "use TORCH=cpu"),
    (
        lambda c: c.python(version="3.11", venv=1),
        {},
        "has no venv module.*apt install python3.11-venv",
    ),
    (
        lambda c: (c.python(), c.df(1200)),
        {"TORCH": "cpu"},
        "1200 MB free in this folder, and 3000 MB are needed",
    ),
]


@pytest.mark.parametrize(("arrange", "variables", "words"), REFUSED)
def test_what_is_missing_is_named(checkout, arrange, variables, words):
    arrange(checkout)
    assert re.search(words, checkout.refused(**variables))


def test_a_python_that_is_only_a_name_is_passed_over(checkout):
    checkout.command("python3.13", "#!/bin/sh\nexit 127\n")
    checkout.python("python3.11", "3.11")
    assert "with Python 3.11" in checkout.made()


def test_the_first_python_that_fits_is_taken(checkout):
    checkout.python("python3.13", "3.13", venv=1)
    checkout.python("python3", "3.9")
    checkout.python("python3.12", "3.12")
    assert "with Python 3.12" in checkout.made()


def test_python_can_be_named(checkout):
    checkout.python("my python", "3.12")
    assert "my python)" in checkout.made(PYTHON=str(checkout.bin / "my python"))


@pytest.mark.skipif(
    sys.platform != "linux", reason="only there is torch's ordinary build a large one"
)
def test_disk_for_the_cpu_build_alone(checkout):
    checkout.python()
    checkout.df(4000)
    assert "or set TORCH=cpu, which needs 3000 MB" in checkout.refused()
    checkout.made(TORCH="cpu")


def test_quick_the_second_time(checkout):
    checkout.python()
    assert ".venv is ready" in checkout.made()
    assert checkout.made() == ""
    assert len(checkout.installs()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only there are two builds of torch")
def test_torch_cpu_takes_torch_from_its_own_index(checkout):
    checkout.python()
    checkout.made(TORCH="cpu")
    torch, rest = checkout.installs()
    assert "--index-url index-of-cpu-builds -c constraints.txt torch" in torch
    assert "--index-url" not in rest
    assert "holds a GPU build of torch: making it again" in checkout.made(TORCH="cpu")
    (site,) = (checkout.folder / ".venv/lib").glob("*/site-packages")
    (site / "torch-2.13.0+cpu.dist-info").mkdir()
    assert checkout.made(TORCH="cpu") == ""


def test_a_set_up_that_failed_says_so_and_starts_again(checkout):
    checkout.python(pip=1)
    code, said = checkout.setup()
    assert code != 0
    assert said.splitlines()[-1].startswith("setup: pip could not install the tested versions")
    checkout.python()
    assert ".venv was left half-made: making it again" in checkout.made()
    assert checkout.made() == ""


SITE = ".venv/lib/python3.12/site-packages"
MENDED = {  # what has happened to an environment, and what is said of it
    "versions changed": (lambda f: (f / "constraints.txt").write_text("another==1\n"), None),
    "a package removed": (lambda f: (f / SITE / "numpy-2.dist-info").rmdir(), None),
    "made by hand": (lambda f: (f / ".venv/.complete").unlink(), None),
    "broken": (
        lambda f: (f / ".venv/bin/python").write_text("#!/bin/sh\nexit 1\n"),
        ".venv does not work any more: making it again",
    ),
    "moved": (
        lambda f: f.rename(f.with_name("moved here")),
        ".venv was made for another folder: making it again",
    ),
}


@pytest.mark.parametrize(("happen", "words"), MENDED.values(), ids=MENDED)
def test_what_has_changed_is_installed_and_what_is_broken_made_again(checkout, happen, words):
    checkout.python()
    checkout.made()
    happen(checkout.folder)
    if not checkout.folder.exists():
        checkout.folder = checkout.folder.with_name("moved here")
    said = checkout.made()
    assert words in said if words else "making" not in said
    assert len(checkout.installs()) == 2
    assert checkout.made() == ""


def test_a_wheelhouse_is_used_without_network(checkout):
    checkout.python()
    house = checkout.folder / "wheelhouse"
    house.mkdir()
    machine = " ".join(os.uname()[i] for i in (0, 4))
    (house / "made-for.txt").write_text(f"3.11 {machine}\n")
    said = checkout.refused()
    assert f"wheelhouse/ is for Python 3.11 {machine}, and this is 3.12" in said
    (house / "made-for.txt").write_text(f"3.12 {machine}\n")
    checkout.made(TORCH="cpu")
    (pip,) = checkout.installs()
    assert "--no-index --find-links wheelhouse" in pip
    assert "--index-url" not in pip


@pytest.mark.parametrize("script", ["setup.sh", "wheelhouse.sh"])
def test_a_search_path_of_cd_leads_to_no_other_folder(tmp_path, script):
    here, other = tmp_path / "here", tmp_path / "other"
    for folder in (here, other):
        (folder / "scripts").mkdir(parents=True)
        (folder / ".venv").mkdir()
    shutil.copy(ROOT / "scripts" / script, here / "scripts")
    env = {"PATH": "/usr/bin:/bin", "CDPATH": str(other), "PYTHON": "/no/python", "TORCH": ""}
    subprocess.run(["sh", f"scripts/{script}"], cwd=here, env=env, capture_output=True)
    assert (other / ".venv").exists() and not (other / "wheelhouse.part").exists()
