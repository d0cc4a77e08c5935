"""A page that hangs costs a test its time and no more."""

import time

import pytest
from lab import Stuck
from playwright.sync_api import Error

pytestmark = pytest.mark.browser

ENDLESS = "() => { while (true) {} }"


def test_a_browser_that_hangs_is_killed_and_another_started(browser):
    """A call that has no limit of its own is what a page can hold for ever."""
    page = browser.new_page()
    begin = time.monotonic()
    with pytest.raises(Error) as error, browser.killed_after(1):
        page.evaluate(ENDLESS)
    assert type(error.value).__name__ == "TargetClosedError"
    assert time.monotonic() - begin < 30
    assert page.is_closed()
    another = browser.new_page()
    assert another.evaluate("1 + 1") == 2
    another.close()


def test_a_promise_that_is_never_kept_is_told_with_the_kernels_state(open_nb):
    notebook = open_nb("1")
    with pytest.raises(Stuck, match=r"Promise.*'kernel': 'idle', 'connection': 'connected'"):
        notebook._settle("new Promise(() => {})", limit_s=0.5)
    with pytest.raises(AssertionError, match="failed: Error: no"):
        notebook._settle("Promise.reject(new Error('no'))")
    assert notebook.run_all() == []
