"""One JupyterLab and one browser for all tests of this folder, a fresh notebook for each."""

import pytest
from lab import Notebook, jupyterlab, notebook_of, open_chromium


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """A private JupyterLab."""
    with jupyterlab(tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("notebooks")) as lab:
        yield lab


@pytest.fixture(scope="session")
def browser(chromium, tmp_path_factory):
    """A headless Chromium."""
    with open_chromium(chromium, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def open_nb(lab, browser):
    """`open_nb(*sources)`: a `lab.Notebook` with one code cell for each source.

    `open_nb(content)` opens a copy of a notebook that nbformat has read.
    """
    opened = []

    def open_(*sources):
        whole = not isinstance(sources[0], str)
        content = sources[0] if whole else notebook_of(*sources)
        opened.append(Notebook(lab, browser, content))
        return opened[-1]

    yield open_
    for notebook in opened:
        notebook.close()
