"""Chromium for the tests of the page."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

READY = "body[data-state=ready]"


def data_of(page: str) -> Any:
    """Return the data that a page holds, read from its file."""
    packed = re.search(r'id="packed-data">([^<]*)<', page)
    assert packed
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Debian's Chromium through Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that is open in the browser, and what it complained of or asked for.

    Args:
        browser: The browser.
        file: The page's file.
        options: Options of Playwright's context, such as ``color_scheme``.
    """

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector(READY)

    def rows(self) -> list[list[str]]:
        """Return the cells of the rows of the table that are drawn."""
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        found: list[list[str]] = self.page.locator("#table tbody tr").evaluate_all(script)
        return found

    def all_rows(self) -> list[list[str]]:
        """Return the cells of all rows, scrolling through the table."""
        script = """async () => {
          const box = document.querySelector("#groups .dt-scroll-body"), found = new Map();
          const frame = () => new Promise(requestAnimationFrame);
          for (box.scrollTop = 0; ; box.scrollTop += box.clientHeight) {
            await frame(); await frame();
            for (const row of document.querySelectorAll("#table tbody tr"))
              found.set(row.dataset.node, [...row.cells].map((cell) => cell.textContent));
            if (box.scrollTop + box.clientHeight >= box.scrollHeight - 1) return [...found.values()];
          }
        }"""
        found: list[list[str]] = self.page.evaluate(script)
        return found

    def search(self, words: str) -> None:
        """Search, and wait for what is found."""
        self.page.fill("#search", words)
        self.page.wait_for_timeout(250)  # until which the page waits for further letters

    def wait_for_focus(self, text: str) -> None:
        """Wait until what has the focus reads so."""
        for _ in range(100):
            if self.page.evaluate("document.activeElement.textContent") == text:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the focus is not on {text!r}")

    def choose(self, name: str) -> None:
        """Choose a radio button."""
        self.page.get_by_role("radio", name=name, exact=True).check()

    def close(self) -> None:
        """Close the page."""
        self.context.close()
