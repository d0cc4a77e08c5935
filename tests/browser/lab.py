"""A private JupyterLab and a browser that opens notebooks in it: for the tests and a benchmark.

Nothing leaves 127.0.0.1, and no setting of the user is read or written. Pages are driven through
JupyterLab's own application object, and by what a user touches; we wait for effects, never for
"idle", which is still true before a message has gone out. Whatever we wait for has a limit, which
Playwright's `evaluate` has not.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from playwright.sync_api import Page, Playwright, TimeoutError, sync_playwright

FLAGS = [
    "--no-sandbox",  # root has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_S = 240  # for all cells of a notebook
PANEL = "window.jupyterapp.shell.currentWidget"
KERNEL = f"{PANEL}.sessionContext.session.kernel"

# every error on iopub, also in callbacks, which JupyterLab shows nowhere in the page
RECORD_ERRORS = f"""() => {{
    window.iopubErrors = [];
    {KERNEL}.anyMessage.connect((_, {{msg}}) => {{
        if (msg.header.msg_type === 'error')
            window.iopubErrors.push(`${{msg.content.ename}}: ${{msg.content.evalue}}`);
    }});
}}"""
LIST_ERRORS = f"""() => {{
    const found = [...window.iopubErrors];
    {PANEL}.content.model.sharedModel.cells.forEach((cell, i) => {{
        const {{cell_type, execution_count, source}} = cell.toJSON();
        if (cell_type === 'code' && execution_count == null && [].concat(source).join('').trim())
            found.push(`cell ${{i}} did not run`);
    }});
    document.querySelectorAll('.jupyter-widgets-error-widget').forEach(
        e => found.push('broken widget: ' + e.innerText));
    return found;
}}"""
# synchronous: an async predicate returns a Promise, which is true at once
IS_READY = """path => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.path === path && panel.context.isReady
        && panel.sessionContext?.session?.kernel?.status === 'idle';
}"""


# what is promised is awaited in the page, since only that has a limit
PROMISE = """{{
    window.settled = null;
    Promise.resolve({promise}).then(
        () => {{ window.settled = 'done'; }},
        error => {{ window.settled = `failed: ${{error}}`; }});
}}"""
STATE = f"""() => {{
    const kernel = {PANEL}?.sessionContext?.session?.kernel;
    const cells = {PANEL}?.content?.model?.sharedModel?.cells ?? [];
    return {{
        kernel: kernel?.status, connection: kernel?.connectionStatus,
        counts: cells.map(cell => cell.toJSON().execution_count ?? null),
    }};
}}"""


class Stuck(Exception):
    """A page that has not done what it promised, for so long that it never will."""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, and the folder of its notebooks."""

    url: str
    token: str
    folder: Path


@contextlib.contextmanager
def jupyterlab(private: Path, folder: Path) -> Iterator[Lab]:
    """A JupyterLab over `folder` with its settings, log and runtime files in `private`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder)
    options = [
        "--no-browser --allow-root --ip=127.0.0.1 --ServerApp.port_retries=0",
        f"--port={port} --IdentityProvider.token={lab.token} --expose-app-in-browser",
    ]
    command = [sys.executable, "-m", "jupyterlab", *" ".join(options).split()]
    log = private / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={folder}"],
            env=private_settings(private),
            stdout=out,
            stderr=out,
        )
        try:
            _wait_for(server, f"{lab.url}/api/status?token={lab.token}", log)
            yield lab
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def private_settings(private: Path) -> dict:
    """The environment of a JupyterLab that keeps everything of its own in `private`."""
    places = ["CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"]
    own = {f"JUPYTER_{place}": str(private / place.lower()) for place in places}
    for place in ("SETTINGS", "WORKSPACES"):
        own[f"JUPYTERLAB_{place}_DIR"] = str(private / place.lower())
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    config = private / "config_dir" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(news))  # no pop-up asks, no request leaves
    return {**os.environ, **own, "IPYTHONDIR": str(private / "ipython")}


@contextlib.contextmanager
def open_chromium(path: str) -> Iterator["Chromium"]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        chromium = Chromium(playwright, path)
        try:
            yield chromium
        finally:
            chromium.close()


class Chromium:
    """A browser that is started for its first page, and again after it has been killed.

    Each page has a context of its own: pages of one profile share caches and their locks, so that
    one can wait for what another, closed in the middle of a download, has left behind.
    """

    def __init__(self, playwright: Playwright, path: str):
        self.playwright, self.path = playwright, path
        self.mark = f"--modelscale-tests={secrets.token_hex(8)}"  # by which it is found and killed
        self.browser = None

    def new_page(self) -> Page:
        """An empty page; closing its context closes it."""
        if self.browser is None:
            self.browser = self.playwright.chromium.launch(
                executable_path=self.path, headless=True, args=[*FLAGS, self.mark], timeout=90_000
            )
            self.browser.on("disconnected", self._forget)
        return self.browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()

    @contextlib.contextmanager
    def killed_after(self, limit_s: float) -> Iterator[None]:
        """Kills the browser if the block is not done in time: its calls raise TargetClosedError.

        Most of them have no limit of their own, and a page that hangs would hold them for ever.
        """
        timer = threading.Timer(limit_s, self._kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Ends it, if it runs."""
        if self.browser is not None:
            with self.killed_after(60):
                self.browser.close()

    def _forget(self, _):
        self.browser = None

    def _kill(self):
        for process in psutil.process_iter(["cmdline"]):
            if self.mark in (process.info["cmdline"] or []):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


class Notebook:
    """A copy of the notebook `content`, open in JupyterLab with a kernel of its own."""

    def __init__(self, lab: Lab, browser: Chromium, content: nbformat.NotebookNode):
        name = f"{secrets.token_hex(4)}.ipynb"
        self.path, self.page = lab.folder / name, browser.new_page()
        nbformat.write(content, self.path)
        workspace = f"{lab.url}/lab/workspaces/{secrets.token_hex(4)}"
        self.page.set_default_timeout(60_000)
        self.page.goto(f"{workspace}/tree/{name}?token={lab.token}&reset")
        try:
            self.page.wait_for_function(IS_READY, arg=name)
        except TimeoutError as error:
            state = self.page.evaluate(STATE)
            self.page.context.close()
            raise Stuck(f"{name} did not open with an idle kernel: {state}") from error
        self.page.evaluate(RECORD_ERRORS)

    def start_all(self) -> None:
        """Runs all cells, without waiting for them."""
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def run_all(self) -> list[str]:
        """What went wrong in running all cells, once each has run or one has failed."""
        self._settle("jupyterapp.commands.execute('notebook:run-all-cells')", PATIENCE_S)
        return self.errors()

    def errors(self) -> list[str]:
        """Errors of the kernel, cells that did not run, widgets that broke."""
        return self.page.evaluate(LIST_ERRORS)

    def save(self) -> nbformat.NotebookNode:
        """The notebook as it is on disk after a save."""
        self._settle("jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.path, as_version=4)

    def picture(self) -> str:
        """The source of the picture of the first explorer or live curve in the page."""
        return self.page.locator(".widget-html img").first.get_attribute("src")

    def wait_for_new_picture(self, old: str) -> None:
        """Wait until the picture differs from `old` and is loaded."""
        self.page.wait_for_function(
            "old => { const image = document.querySelector('.widget-html img');"
            " return image && image.src !== old && image.complete; }",
            arg=old,
        )

    def close(self) -> None:
        """Shuts the kernel down and closes the page, unless the browser was killed."""
        if self.page.is_closed():
            return
        try:
            self._settle(f"{PANEL}.sessionContext.shutdown()")
        finally:
            self.page.context.close()

    def _settle(self, promise: str, limit_s: float = 60) -> None:
        """Wait until what the page promised is done."""
        self.page.evaluate(f"() => {PROMISE.format(promise=promise)}")
        try:
            self.page.wait_for_function("window.settled", timeout=1000 * limit_s)
        except TimeoutError as error:
            state = self.page.evaluate(STATE)
            raise Stuck(f"{promise}: not in {limit_s:g} s, {state}") from error
        settled = self.page.evaluate("window.settled")
        assert settled == "done", f"{promise}: {settled}"


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    """A notebook with one code cell for each source."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _wait_for(server, url, log, attempts=600):
    for _ in range(attempts):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer: {log.read_text()[-3000:]}")
