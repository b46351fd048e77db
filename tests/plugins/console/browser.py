"""A real headless Chromium, driven over its debugging pipe."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import asynccontextmanager

import trio

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SECONDS = 30


class Tab:
    """One page. `console` holds what it wrote as error or warning, `requests` every address it asked for."""

    def __init__(self, write, session=None):
        self._write = write
        self._session = session
        self._number = 0
        self._answers = {}
        self._waiting = {}
        self._loaded = set()
        self._stirred = trio.Event()
        self.console = []
        self.requests = []

    async def ask(self, method, **params):
        """Send one command of the DevTools protocol and return its result."""
        self._number += 1
        number, done = self._number, trio.Event()
        self._waiting[number] = done
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._write.send_all(json.dumps(message).encode() + b"\0")
        with trio.fail_after(_SECONDS):
            await done.wait()
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def hear(self, message):
        """Take one message from the browser."""
        if message.get("id") in self._waiting:
            self._answers[message["id"]] = message
            self._waiting.pop(message["id"]).set()
            return
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.console.append(params["exceptionDetails"]["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.console.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.lifecycleEvent" and params["name"] == "load":
            self._loaded.add(params["loaderId"])
            self._stirred.set()
            self._stirred = trio.Event()

    async def go(self, url):
        """Open an address and wait until it is loaded."""
        loader = (await self.ask("Page.navigate", url=url))["loaderId"]
        with trio.fail_after(_SECONDS):
            while loader not in self._loaded:
                await self._stirred.wait()

    async def run(self, expression):
        """Run JavaScript in the page, awaiting promises, and return its value."""
        result = await self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression):
        """Wait until an expression is true in the page; survives a page change under way."""
        holds = f"(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})"
        script = f"new Promise(ok => {{ const look = () => {holds}() ? ok(true) : setTimeout(look, 20); look(); }})"
        with trio.fail_after(_SECONDS):
            while True:
                try:
                    return await self.run(script)
                except AssertionError as error:
                    if "context" not in str(error) and "navigated" not in str(error):
                        raise

    async def shape(self, width, height=900, *, dark=False):
        """Set the size of the window and the theme of the system."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        value = "dark" if dark else "light"
        await self.ask(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}]
        )

    async def shoot(self, path):
        """Write a picture of the whole page."""
        shot = await self.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def open_browser(folder):
    """Run Chromium for as long as the block runs and give its one tab."""
    to_browser, from_us = os.pipe()
    from_browser, to_us = os.pipe()
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    # The browser reads its commands from descriptor 3 and answers on 4.
    wrapped = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{to_us}', "bash", *command]
    process = await trio.lowlevel.open_process(
        wrapped, pass_fds=(to_browser, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_browser)
    os.close(to_us)
    write, read = trio.lowlevel.FdStream(from_us), trio.lowlevel.FdStream(from_browser)
    browser = Tab(write)
    tabs = {None: browser}

    async def listen():
        rest = b""
        async for chunk in read:
            *messages, rest = (rest + chunk).split(b"\0")
            for one in messages:
                message = json.loads(one)
                if message.get("sessionId") in tabs:
                    tabs[message.get("sessionId")].hear(message)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            target = (await browser.ask("Target.createTarget", url="about:blank"))["targetId"]
            session = (await browser.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
            tab = tabs[session] = Tab(write, session)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.ask(f"{domain}.enable")
            await tab.ask("Page.setLifecycleEventsEnabled", enabled=True)
            yield tab
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await write.aclose()
            await read.aclose()
