"""One JupyterLab and one browser for all tests of this folder, a fresh notebook for each.

A page that hangs ends its test within minutes, and the tests after it get a new browser.
"""

import contextlib

import pytest
from lab import Notebook, jupyterlab, notebook_of, open_chromium


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """A private JupyterLab."""
    with jupyterlab(tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("notebooks")) as lab:
        yield lab


@pytest.fixture(scope="session")
def browser(chromium):
    """A headless Chromium."""
    with open_chromium(chromium) as browser:
        yield browser


@pytest.fixture
def opened(browser):
    """`opened(lab, content, limit_s)`: a `lab.Notebook`, closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def open_(lab, content, limit_s):
            stack.enter_context(browser.killed_after(limit_s))
            return stack.enter_context(contextlib.closing(Notebook(lab, browser, content)))

        yield open_


@pytest.fixture
def open_nb(lab, opened):
    """`open_nb(*sources)`: a `lab.Notebook` with one code cell for each source.

    `open_nb(content)` opens a copy of a notebook that nbformat has read.
    """

    def open_(*sources):
        whole = not isinstance(sources[0], str)
        return opened(lab, sources[0] if whole else notebook_of(*sources), limit_s=180)

    return open_
