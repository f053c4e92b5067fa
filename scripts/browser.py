"""Open built pages in headless Chromium with the network off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["find_chromium", "launch", "page_url"]

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def launch() -> Iterator[Browser]:
    """Start headless Chromium.

    Raises
    ------
    FileNotFoundError
        If no Chromium is installed.
    """
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    if executable is None:
        raise FileNotFoundError("chromium: expected Chromium or Chrome on the PATH, found none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


def page_url(html: Path, page: str) -> str:
    """``file://`` address of a page such as ``"intro.html"`` or ``"search.html?q=beta"``."""
    name, _, query = page.partition("?")
    return (html / name).resolve().as_uri() + (f"?{query}" if query else "")
