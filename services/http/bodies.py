"""JSON bodies that are large: parsed one at a time and not by the event loop, after a look at their structure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

_LARGE = 64 * 1024
# A list or an object takes a hundred times as long to make as a byte to read. The largest batch has 40,401.
_MOST_CONTAINERS = 41_000
_parsing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class LargeBodyRoute(APIRoute):
    """A route whose requests may have large bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, which gets a request that parses large bodies apart."""
        handle = super().get_route_handler()

        async def handle_large(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return handle_large


class _Request(Request):
    async def json(self) -> Any:
        """The parsed body. Raises JSONDecodeError, and HTTPException 422 if it has too many lists and objects."""
        body = await self.body()
        if len(body) <= _LARGE:
            return await super().json()
        if body.count(b"[") + body.count(b"{") > _MOST_CONTAINERS:
            raise HTTPException(422, f"the body has more than {_MOST_CONTAINERS} lists and objects")
        loop = asyncio.get_running_loop()
        async with _parsing.setdefault(loop, asyncio.Lock()):
            return await asyncio.to_thread(orjson.loads, body)
