"""What ranks print and report is seen in a real JupyterLab while they run, the interrupt button
ends them within seconds, and the failing rank's own traceback is what the page shows."""

import time

import pytest

pytestmark = pytest.mark.browser

FUNCTION = """
import time
import torch.distributed as dist
from modelscale import parallel

def train(steps, fail=False):
    for step in range(steps):
        time.sleep(0.05)
        parallel.report(step + 1, steps, loss=1.5)
        if step == 20:
            print("hello")
            1 / (1 - fail * dist.get_rank())
"""
ENDLESS = "parallel.run(train, 100_000, timeout_s=600)"
FAILING = "parallel.run(train, 100_000, True)"
AFTER = "print(parallel.run(dist.get_rank))"


def page_of(notebook, text):
    """Wait until the outputs of the notebook hold the text."""
    outputs = notebook.page.locator(".jp-Cell-outputArea", has_text=text)
    outputs.first.wait_for()


def test_progress_is_seen_as_it_happens_and_the_interrupt_button_ends_it(open_nb):
    notebook = open_nb(FUNCTION, ENDLESS)
    notebook.start_all()
    for rank in (0, 1):
        page_of(notebook, f"[rank {rank}] hello")
        page_of(notebook, f"[rank {rank}] 4")  # step 4, 40 or 400: past the twentieth
    begin = time.monotonic()
    notebook.page.evaluate("() => { jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
    page_of(notebook, "KeyboardInterrupt: all ranks have been ended")
    assert time.monotonic() - begin < 10


def test_the_failing_ranks_traceback_comes_first_and_names_the_cell(open_nb):
    notebook = open_nb(FUNCTION, FAILING, AFTER)
    notebook.run_all()
    (error,) = [out for out in notebook.save().cells[1].outputs if out.output_type == "error"]
    text = "\n".join(error.traceback)
    assert text.startswith("RankError: rank 1 failed first\nTraceback (most recent call last):\n")
    assert "  Cell In[1], line 11, in train\n    1 / (1 - fail * dist.get_rank())" in text
    assert text.endswith(f"  Cell In[2], line 1, in <module>\n    {FAILING}")
    assert "ZeroDivisionError" in text and text.count("Traceback") == 1
