"""A node that lies: an HTTP proxy in front of an honest one, which changes what it answers as a test wants."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import aiohttp
from aiohttp import web

R = TypeVar("R")
Change = Callable[[str, dict[str, Any], Any], Any]
"""From method, parameters and honest result to what is answered."""


def honest(method: str, params: dict[str, Any], result: Any) -> Any:
    return result


class Refusal(dict[str, Any]):
    """The data of an error that is answered instead of a result."""


class Liar:
    """Serves until `stop`. Errors of the honest node pass unchanged."""

    def __init__(self, endpoint: str) -> None:
        self._target: Final = endpoint
        self.change: Change = honest
        self.calls: Counter[str] = Counter()
        self.faults: list[Exception] = []
        """Of the changes themselves: a test looks whether there are none."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="liar", daemon=True)
        self._thread.start()
        self._run(self._start())

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def lie(self, method: str, change: Callable[[Any], Any]) -> None:
        """Change what one method answers."""
        self.change = lambda name, params, result: change(result) if name == method else result

    def stop(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(600)

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession()
        app = web.Application(client_max_size=1 << 22)
        app.router.add_post("/", self._pass_on)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.calls[asked["method"]] += 1
        async with self._session.post(self._target + "/", json=asked) as response:
            answer = json.loads(await response.read())
        if "result" in answer:
            try:
                answer["result"] = self.change(asked["method"], asked.get("params", {}), answer["result"])
            except Exception as error:
                self.faults.append(error)
                raise
            if isinstance(answer["result"], Refusal):
                refusal = {"code": -32001, "message": "Not found", "data": answer.pop("result")}
                answer["error"] = refusal
        return web.json_response(answer)
