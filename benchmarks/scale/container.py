"""A multi-model container in one process, without CPU of its own: it multiplies, and answers after a simulated time.

The host runs it in place of an image. One process for all models leaves the cores to what is measured. Each answered
call is a line of a log: the number of its rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from aiohttp import web


class Container:
    """Loaded models, and the log.

    Args:
        log: The file of the answered calls.
        seconds: How long a call takes.
    """

    def __init__(self, log: Path, seconds: float) -> None:
        self._factors: dict[str, float] = {}
        self._log = log.open("a", encoding="ascii")
        self._seconds = seconds

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"modelName": name} for name in self._factors]})

    async def load(self, request: web.Request) -> web.Response:
        given = await request.json()
        self._factors[given["model_name"]] = float(Path(given["url"], "factor").read_text())
        return web.json_response({})

    async def unload(self, request: web.Request) -> web.Response:
        self._factors.pop(request.match_info["name"], None)
        return web.json_response({})

    async def invoke(self, request: web.Request) -> web.Response:
        factor = self._factors.get(request.match_info["name"])
        if factor is None:
            return web.json_response({"message": "not loaded"}, status=404)
        answers = [float(line) * factor for line in (await request.read()).split()]
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self._log.write(f"{len(answers)} {time.time()}\n")
        self._log.flush()
        return web.Response(body=json.dumps(answers), content_type="application/json")


async def ping(_: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    container = Container(options.log, options.seconds)
    app = web.Application(client_max_size=64 << 20)
    app.add_routes(
        [
            web.get("/ping", ping),
            web.get("/models", container.list),
            web.post("/models", container.load),
            web.delete("/models/{name}", container.unload),
            web.post("/models/{name}/invoke", container.invoke),
        ]
    )
    web.run_app(app, path=options.socket, print=None, access_log=None)


if __name__ == "__main__":
    main()
