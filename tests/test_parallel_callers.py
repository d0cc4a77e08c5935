"""Proves that `parallel.run` works from a notebook cell and from an unguarded script, shows the
cell's own source line, obeys an interrupt, and leaves nothing where its caller is killed."""

import subprocess
import sys
import textwrap

import nbclient
import nbformat
import pytest
from jupyter_client import KernelManager

from modelscale.parallel import launch
from processes import ROOT, alive, gone, left_behind, script, surroundings


def outputs(tmp_path, monkeypatch, cells):
    """What each cell shows, as text, run in a real kernel."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells]
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, resources=place, allow_errors=True, timeout=120).execute()
    return ["".join(map(shown, cell.outputs)) for cell in notebook.cells]


def shown(output):
    data = output.get("data", {}).get("text/plain", "")
    return output.get("text") or "\n".join(output.get("traceback", [])) or data


def test_a_notebook_cell(tmp_path, monkeypatch):
    cells = [
        """
        import torch, torch.distributed as dist
        from modelscale import parallel
        def ranks_sum(fail):
            total = torch.tensor(dist.get_rank())
            dist.all_reduce(total)
            print("sum", total.item())
            parallel.report(1, 2)
            return total.item() if not fail else 1 / (dist.get_rank() - 1)
        print(parallel.run(ranks_sum, False))
        """,
        "parallel.run(ranks_sum, True)",
        """
        import os, psutil, signal, threading, time
        threading.Timer(1, os.killpg, (0, signal.SIGINT)).start()  # as Jupyter does
        parallel.run(time.sleep, 100, timeout_s=200)
        """,
        """
        own = psutil.Process().children(recursive=True)
        print([p for p in own if p.parent() in own], parallel.run(ranks_sum, False))
        """,
    ]
    works, raises, interrupted, after = outputs(tmp_path, monkeypatch, cells)
    assert works.splitlines()[-1] == "[1, 1]"
    assert sorted(works.splitlines()[:-1]) == ["[rank 0] sum 1", "[rank 1] sum 1"]
    error = raises[raises.index("RankError") :]
    assert error.startswith("RankError: rank 1 failed first\nTraceback (most recent call last):\n")
    assert "  Cell In[1], line 8, in ranks_sum\n    return total.item() if not fail" in error
    assert error.endswith("  Cell In[2], line 1, in <module>\n    parallel.run(ranks_sum, True)")
    assert "[rank 1] 1/2" in raises[: raises.index("RankError")]  # where it was stays on the page
    assert "KeyboardInterrupt" in interrupted and "RankError" not in interrupted
    assert after.splitlines()[-1] == "[] [1, 1]"


def test_an_unguarded_script_runs_once_and_leaves_no_file(tmp_path):
    process = script(
        tmp_path,
        """
        from modelscale import parallel
        print("top")
        def f():
            return helper() + 1
        def helper():
            return 1
        print(parallel.run(f))
        """,
    )
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("top\n[2, 2]\n", "")
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(launch._METHOD != "forkserver", reason="ranks are not forked here")
def test_modules_named_beforehand_are_imported_once_for_all_ranks(tmp_path):
    process = script(
        tmp_path,
        """
        import sys
        from modelscale import parallel
        parallel.warm_up("colorsys")
        def f():
            return "colorsys" in sys.modules, "this" in sys.modules
        print(parallel.run(f))
        """,
    )
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("[(True, False), (True, False)]\n", "")


def test_killing_the_caller_ends_the_ranks_and_leaves_no_file(tmp_path):
    process = script(
        tmp_path,
        """
        import os, time
        from modelscale import parallel
        def f():
            print(os.getpid(), os.getppid())
            if os.environ["RANK"] == "0":
                time.sleep(100)
            __import__("torch").distributed.barrier()
        parallel.run(f)
        """,
    )
    lines = [process.stdout.readline() for _ in range(2)]
    pids = [int(pid) for line in lines for pid in line.split()[2:]]
    assert len(set(pids)) == 3 and all(map(alive, pids))
    process.kill()
    process.communicate(timeout=20)
    assert gone(pids)
    assert left_behind(tmp_path) == []


def test_killing_the_kernel_ends_the_ranks_and_leaves_no_file(tmp_path):
    kernel = KernelManager()
    kernel.start_kernel(env=surroundings(tmp_path), cwd=tmp_path)
    client = kernel.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute(
        "import os, time\n"
        "from modelscale import parallel\n"
        "def f():\n"
        "    print('pids', os.getpid(), os.getppid())\n"
        "    time.sleep(100)\n"
        "parallel.run(f)"
    )
    printed = ""
    while printed.count("pids") < 2:
        printed += client.get_iopub_msg(timeout=60)["content"].get("text", "")
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
    pids = {int(word) for word in printed.split() if word.isdigit()}
    assert len(pids) == 3 and gone(pids)
    assert left_behind(tmp_path) == []


def test_importing_the_package_loads_no_torch():
    code = "import sys, modelscale.parallel; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30).returncode == 0
