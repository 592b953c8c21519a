"""A browser that a test drives: chromium, by the DevTools protocol."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["CHROMIUM", "Tab", "browsed"]

CHROMIUM = shutil.which("chromium")
_STEP, _STEPS = "new Promise(done => setTimeout(done, 50))", 400


class Tab:
    """The only tab of a browser. `errors` are the exceptions of the page, and what its policy refused."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._calls = socket, 0
        self.errors: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": params})
        while True:
            said = await self._socket.receive_json()
            if said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(said["params"]["exceptionDetails"]))
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["source"] != "network":
                self.errors.append(said["params"]["entry"]["text"])
            elif said.get("id") == self._calls:
                assert "error" not in said, said
                return said["result"]

    async def run(self, code: str) -> Any:
        """Return the value of an expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, code: str) -> None:
        """Wait until an expression in the page is true."""
        for _ in range(_STEPS):
            if await self.run(code):
                return
            await self.run(_STEP)
        raise AssertionError(f"never true: {code}\n{await self.run('document.body.innerText')}")


@asynccontextmanager
async def browsed(url: str, folder: Path, *, width: int = 1200) -> AsyncIterator[Tab]:
    """Open a URL in a browser of its own."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    process = await asyncio.create_subprocess_exec(*command, "about:blank", stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            line = await process.stderr.readline()
            assert line, "chromium ended"
            found = re.search(rb"ws://(127\.0\.0\.1:\d+)/", line)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{found[1].decode()}/json") as answer:
                address = next(one for one in await answer.json() if one["type"] == "page")["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
                await tab.call("Emulation.setDeviceMetricsOverride", **size)
                await tab.call("Page.navigate", url=url)
                yield tab
    finally:
        process.kill()
        await process.wait()
