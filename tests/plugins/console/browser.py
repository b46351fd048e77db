"""A real headless Chromium under playwright: a visit is a plain function, run in a thread beside the test."""

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import Any

import trio
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_MILLISECONDS = 60_000
expect.set_options(timeout=_MILLISECONDS)


@dataclass
class Tab:
    """One page, with what it wrote as error or warning and every address it asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.set_default_timeout(_MILLISECONDS)
        self.page.on(
            "console", lambda m: self.console.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))


async def browse(visit, *args) -> Any:
    """Run `visit(tab, *args)` in a thread with a browser of its own; the loop and its daemon go on meanwhile.

    What a visit needs of the test's side it calls with `trio.from_thread.run`.
    """

    def drive():
        # playwright brings a loop; this thread's is a plain one, not the one that trio-asyncio would give it.
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                return visit(Tab(browser.new_page()), *args)
            finally:
                browser.close()

    return await trio.to_thread.run_sync(drive)
