"""What all tests share: figures that need no window, and the browser that widgets are moved in."""

import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("agg")  # not MPLBACKEND: the notebooks' kernels would inherit that

NO_BROWSER = "no Chromium: install chromium or google-chrome, or set CHROMIUM to its path"


def pytest_configure(config):
    """Notebooks lie outside this folder, so what is theirs goes into a plugin; they, too, guess
    in a ledger of their own.
    """
    config.pluginmanager.register(PlainReports())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    own = tempfile.TemporaryDirectory()
    config.add_cleanup(own.cleanup)
    os.environ["MODELSCALE_LEDGER"] = str(Path(own.name) / "guesses.json")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """What `start` does in a notebook, and each rank for itself."""
    from modelscale.dial import settle

    settle()


class PlainReports:
    """A failing notebook's report is free of colour codes where pytest itself prints none."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        report = yield
        plain = not item.config.get_terminal_writer().hasmarkup
        if plain and isinstance(report.longrepr, str):
            report.longrepr = re.sub(r"\x1b\[[0-9;]*m", "", report.longrepr)
        return report


def pytest_runtest_setup(item):
    """A test marked `browser` is skipped, or fails, before any of its fixtures starts."""
    if item.get_closest_marker("browser"):
        browser_or_skip()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser; a skip where there is none, a failure if one is required."""
    return browser_or_skip()


def browser_or_skip() -> str:
    """The path of the browser; a skip where there is none, a failure if one is required."""
    path = chromium_path()
    if path is None and os.environ.get("MODELSCALE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"MODELSCALE_REQUIRE_BROWSER=1, and there is {NO_BROWSER}", pytrace=False)
    return path or pytest.skip(NO_BROWSER)


def chromium_path() -> str | None:
    """The path of a Chromium or Chrome ($CHROMIUM before those on PATH), or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, names)), None)
