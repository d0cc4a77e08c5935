"""How long a reader waits between a key press on a slider and the new picture.

From the key's event to the first animation frame in which the picture has changed and is loaded,
in headless Chromium; the screen shows it one paint later. Three explorers: two lines that move; a
marker over a heat map with 64 numbers; such a heat map with all its numbers new.

    PYTHONPATH=tests/browser python benchmarks/widget_latency.py
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from lab import Notebook, jupyterlab, notebook_of, open_chromium

from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole

RESULT = Path(__file__).parent / "results" / "widget_latency.json"
PACKAGES = ("ipykernel", "ipywidgets", "jupyterlab", "matplotlib", "numpy", "pillow", "playwright")
MOVES = 25
WARM_UP = 3
GOALS_MS = {"lines": 150, "marker on a heat map": 200, "heat map": 200}  # at p95, idle machine

SOURCE = """
import numpy as np
from modelscale import plot
from modelscale.course import Explorer, choice

n = np.geomspace(1e3, 1e9, 200)
table = np.random.default_rng(0).random((8, 8))
{parts}
Explorer(setup, update, lambda k: f"This is k = {{k}}.", k=choice("k", range(1, 65), 5))
"""
PARTS = {
    "lines": """
def setup(figure):
    axes = figure.subplots()
    axes.set(xlim=(1e3, 1e9), ylim=(0.05, 100), xlabel="parameters", ylabel="loss")
    return [axes.loglog(n, n)[0] for _ in range(2)], axes.set_title("k")

def update(art, k):
    for i, line in enumerate(art[0]):
        line.set_ydata(0.1 + 400 * n ** (-0.3 - 0.004 * k - 0.05 * i))
    art[1].set_text(f"k = {k}")
""",
    "marker on a heat map": """
def setup(figure):
    axes = figure.subplots()
    plot.heat(axes, table, range(8), range(8))
    return axes.plot([0], [0], "r*")

def update(art, k):
    art[0].set_data([k % 8], [k // 8 % 8])
""",
    "heat map": """
def setup(figure):
    return figure.subplots()

def update(art, k):
    art.clear()
    plot.heat(art, (table * k / 7) % 1, range(8), range(8), vmin=0, vmax=1)
""",
}
RECORD = """() => {
    window.latencies = [];
    const image = () => document.querySelector('.widget-html img');
    document.addEventListener('keydown', event => {
        const old = image().src;
        const look = () => {
            const now = image();
            if (now && now.src !== old && now.complete && now.naturalWidth)
                latencies.push(performance.now() - event.timeStamp);
            else
                requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    }, true);
}"""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--chromium", default=shutil.which("chromium"), help="its path")
    chromium = options.parse_args().chromium
    began, load_before = time.time(), os.getloadavg()[0]
    latencies = measure_all(chromium)
    report = {
        "machine": describe_machine(),
        "load_average": [load_before, os.getloadavg()[0]],
        "date": datetime.date.today().isoformat(),
        "seconds": round(time.time() - began, 1),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "latency_ms": {name: summary(moves) for name, moves in latencies.items()},
    }
    RESULT.parent.mkdir(exist_ok=True)
    write_whole(RESULT, json.dumps(report, indent=1) + "\n")
    for name, found in report["latency_ms"].items():
        print(
            f"{name:22s} median {found['median']:4.0f} ms, p95 {found['p95']:4.0f} ms "
            f"(goal {GOALS_MS[name]})"
        )
    print(f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after")


def measure_all(chromium: str) -> dict[str, list[float]]:
    """Milliseconds of each move of each explorer."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        private, notebooks = Path(folder, "private"), Path(folder, "notebooks")
        private.mkdir()
        notebooks.mkdir()
        with jupyterlab(private, notebooks) as lab, open_chromium(chromium) as browser:
            return {name: measure(lab, browser, parts) for name, parts in PARTS.items()}


def measure(lab, browser, parts: str) -> list[float]:
    """Milliseconds of each move of one explorer, the first few left out."""
    notebook = Notebook(lab, browser, notebook_of(SOURCE.format(parts=parts)))
    errors = notebook.run_all()
    assert not errors, errors
    notebook.page.get_by_role("slider").focus()
    notebook.page.evaluate(RECORD)
    for move in range(WARM_UP + MOVES):
        notebook.page.keyboard.press("ArrowRight")
        notebook.page.wait_for_function("n => latencies.length === n", arg=move + 1)
        notebook.page.wait_for_timeout(200)  # as a reader would, and the kernel is idle again
    latencies = notebook.page.evaluate("latencies")
    notebook.close()
    return latencies[WARM_UP:]


def summary(moves: list[float]) -> dict:
    """Median, p95 and all moves."""
    moves = [round(ms, 1) for ms in moves]
    p95 = statistics.quantiles(moves, n=20, method="inclusive")[-1]
    return {"median": statistics.median(moves), "p95": round(p95, 1), "moves": moves}


if __name__ == "__main__":
    settle()
    main()
