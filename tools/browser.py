"""A headless Chromium, driven by Playwright (`pip install 'mptq-export[browser]'`)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowserError(Exception):
    """There is no Playwright, or no Chromium for it; the message says what to install."""


@contextmanager
def open_browser() -> Iterator["Browser"]:
    """A browser of the system, or else Playwright's own.

    Raises:
        NoBrowserError: there is none.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise NoBrowserError("there is no Playwright: pip install 'mptq-export[browser]'") from error
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        program = next(filter(None, map(shutil.which, _NAMES)), own)
        if not Path(program).is_file():
            raise NoBrowserError("there is no Chromium: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
