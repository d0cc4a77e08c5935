"""Seconds from `make lab` to the first plot of the course, in a fresh clone and once more.

    PYTHONPATH=tests/browser python benchmarks/first_plot.py [TORCH=cpu]

The clone and every setting are in a temporary folder. `make lab` is the README's own command, with
a port and a token of ours; headless Chromium opens the page it serves and runs all cells of
notebook 00 until the first picture is there. What is given goes to make.
"""

import datetime
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from lab import IS_READY, PANEL, open_chromium, private_settings

from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "first_plot.json"
FIRST = "00_your_machine.ipynb"  # below the folder that `make lab` serves
PATIENCE_S = 1200  # for a set-up over a slow network
RUN_ALL = """async () => {
    await jupyterapp.commands.execute('notebook:clear-all-cell-outputs');
    jupyterapp.commands.execute('notebook:run-all-cells');
}"""
HAS_PICTURE = f"""() => Array.from({PANEL}.content.model.cells).some(
    cell => cell.outputs?.toJSON().some(output => output.data?.['image/png']))"""


def main():
    """Measure both times and write them."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "modelscale"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        result = {"machine": describe_machine(), "date": str(datetime.date.today())}
        for name in ("first", "second"):
            result[name] = measured(clone, Path(folder) / name)
            print(name, result[name], flush=True)
    write_whole(RESULT, json.dumps(result, indent=1) + "\n")


def measured(clone, private) -> dict:
    """Seconds from the command to a server that answers, a kernel that waits, and a picture."""
    private.mkdir()
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    token, begin = secrets.token_hex(16), time.perf_counter()
    options = f"--no-browser --port={port} --IdentityProvider.token={token} --expose-app-in-browser"
    server = subprocess.Popen(
        ["make", "lab", f"LAB_ARGS={options}", *sys.argv[1:]],
        cwd=clone,
        env=private_settings(private),
        stdout=subprocess.DEVNULL,
        stderr=(private / "lab.log").open("w"),
        start_new_session=True,
    )
    try:
        return seen(f"http://127.0.0.1:{port}", token, begin)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def seen(url, token, begin) -> dict:
    """What a browser sees, and after how many seconds."""
    wait_for(f"{url}/api/status?token={token}")
    marks = {"server_s": time.perf_counter() - begin}
    with open_chromium(os.environ.get("CHROMIUM", "/usr/bin/chromium")) as browser:
        page = browser.new_page()
        page.goto(f"{url}/lab/tree/{FIRST}?token={token}")
        page.wait_for_function(IS_READY, arg=FIRST, timeout=120_000)
        marks["kernel_s"] = time.perf_counter() - begin
        page.evaluate(RUN_ALL)
        page.wait_for_function(HAS_PICTURE, timeout=120_000)
        marks["plot_s"] = time.perf_counter() - begin
    return {name: round(seconds, 1) for name, seconds in marks.items()}


def wait_for(url):
    """Wait until the address answers."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer in {PATIENCE_S} s")


if __name__ == "__main__":
    settle()
    main()
