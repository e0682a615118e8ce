"""A headless browser, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def launched(*flags: str) -> Iterator[Browser]:
    """A browser; without one the test is skipped."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if not binary:
        pytest.skip("there is no chromium and no google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", *flags])
        yield browser
        browser.close()


@contextmanager
def opened(path: Path, width: int) -> Iterator[Page]:
    """The page from disk, at a width in pixels; every complaint of the browser fails the test."""
    complaints = []
    with launched() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url[:100]))
        page.on("request", lambda request: complaints.append(request.url[:100]) if "http" in request.url[:5] else None)
        page.goto(path.as_uri())
        yield page
    assert not complaints


def check_layout(page: Page, width: int) -> None:
    """Every picture is there and has a text, and nothing is wider than the page."""
    pictures = page.evaluate("[...document.images].map(i => [i.complete && i.naturalWidth, i.alt])")
    assert all(shown and alt for shown, alt in pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
