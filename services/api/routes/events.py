"""New curves as they are published, by server-sent events and by WebSocket.

A connection begins with the newest curve of each entity, so that a client needs no other request, also when it
reconnects. A slow client skips curves that a newer one of the same entity has replaced, and delays no other client. A
connection ends when its caller loses access.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field

from dualcast.catalogue import Path_, UseCase, path_identifier, path_of
from dualcast.curves.fallbacks import fallback_of
from dualcast.curves.staleness import is_stale
from dualcast.timegrid import micros
from services.access.control import check_access, check_again
from services.api.deps import Deps, ServiceDeps
from services.api.encoding import WHOLE
from services.api.lookup import find_entity, find_use_case
from services.api.queries import EntitiesQuery, UseCaseQuery
from services.book.curves import CurveCache, StoredCurve
from services.http.formats import with_fields
from services.http.problems import SOCKET_CODE, ProblemError

# The close code of RFC 6455 for a kind of message that is not accepted.
_UNSUPPORTED = 1003
router = APIRouter()
sockets = APIRouter(prefix="/api/v1", dependencies=[Depends(check_access)])


class Subscription:
    """The curves that one client has not received yet: the newest of each entity."""

    def __init__(self, use_case: UseCase, path: Path_, entity_ids: Collection[str]) -> None:
        self._wanted = use_case.use_case, path_identifier(path), frozenset(entity_ids)
        self._pending: dict[str, StoredCurve] = {}
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def open(self, curves: CurveCache) -> Iterator[None]:
        """Collect curves, beginning with the newest of each entity."""
        use_case, path, entity_ids = self._wanted
        stop = curves.listen(self._on_curve)
        try:
            for entity_id in sorted(entity_ids):
                newest = (
                    curves.intraday(use_case, entity_id)
                    if path == "intraday"
                    else next(reversed(curves.days(use_case, entity_id)), None)
                )
                if newest is not None:
                    self._put(newest)
            yield
        finally:
            stop()

    async def next(self) -> StoredCurve:
        """Wait for the next curve."""
        while not self._pending:
            self._arrived.clear()
            await self._arrived.wait()
        return self._pending.pop(next(iter(self._pending)))

    def _on_curve(self, stored: StoredCurve) -> None:
        """Called in the thread of the feed."""
        use_case, path, entity_ids = self._wanted
        forecast = stored.track.shared
        if (forecast.use_case, forecast.path) == (use_case, path) and forecast.entity_id in entity_ids:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._put, stored)

    def _put(self, stored: StoredCurve) -> None:
        entity_id = stored.track.shared.entity_id
        held = self._pending.get(entity_id)
        if held is None or held.issued_at <= stored.issued_at:
            self._pending[entity_id] = stored
        self._arrived.set()


class EventsQuery(UseCaseQuery, EntitiesQuery):
    """The curves to send."""

    path: Path_ = Field("intraday", description="the forecast path")


def _subscribe(deps: ServiceDeps, query: EventsQuery) -> Subscription:
    """Raises ProblemError 403 or 404."""
    use_case = find_use_case(deps, query.use_case, query.path)
    names = [find_entity(use_case, name).id for name in query.names(use_case)]
    return Subscription(use_case, query.path, names)


async def _subscription(deps: Deps, query: Annotated[EventsQuery, Query()]) -> Subscription:
    """A dependency, so that a problem is returned before the stream begins."""
    return _subscribe(deps, query)


@router.get("/events", response_class=EventSourceResponse, tags=["events"])
async def events(
    request: Request, deps: Deps, subscription: Annotated[Subscription, Depends(_subscription)]
) -> AsyncIterator[ServerSentEvent]:
    """Curves as server-sent events: first the newest of each entity, then each new one."""
    with subscription.open(deps.curves), suppress(ProblemError):
        while True:
            stored = await subscription.next()
            forecast = stored.head
            await check_again(request, forecast.use_case, forecast.entity_id)
            yield ServerSentEvent(
                raw_data=_body(deps, stored).decode(),
                event=forecast.path,
                id=f"{forecast.entity_id}@{micros(forecast.issued_at)}",
            )


@sockets.websocket("/ws")
async def websocket(socket: WebSocket, deps: Deps, query: Annotated[EventsQuery, Query()]) -> None:
    """The same by WebSocket, one text message for each curve.

    Closes with 4404 for an unknown entity, with 4403 if the caller may not see it, and with 4401 when the key or token
    has expired, with 1003 after a binary message.
    """
    await socket.accept()
    try:
        subscription = _subscribe(deps, query)
    except ProblemError as error:
        await _refuse(socket, error)
        return
    with subscription.open(deps.curves):
        sending = asyncio.create_task(_send(socket, deps, subscription))
        try:
            await _receive(socket)
        finally:
            sending.cancel()


async def _receive(socket: WebSocket) -> None:
    """Ignore text messages until the client disconnects or sends a binary one."""
    while (message := await socket.receive())["type"] == "websocket.receive":
        if message.get("text") is None:
            with suppress(WebSocketDisconnect, RuntimeError):  # closed meanwhile
                await socket.close(_UNSUPPORTED, "only text messages are accepted")
            return


async def _send(socket: WebSocket, deps: ServiceDeps, subscription: Subscription) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # the client disconnected during a send
        while True:
            stored = await subscription.next()
            try:
                await check_again(socket, stored.track.shared.use_case, stored.track.shared.entity_id)
            except ProblemError as error:
                await _refuse(socket, error)
                return
            await socket.send_text(_body(deps, stored).decode())


async def _refuse(socket: WebSocket, error: ProblemError) -> None:
    await socket.close(SOCKET_CODE + error.status, error.detail[:120])


def _body(deps: ServiceDeps, stored: StoredCurve) -> bytes:
    """A curve; a connection may begin with one that is stale."""
    shared, encoded = stored.track.shared, deps.encoded.of(stored)
    use_case = deps.catalogue[shared.use_case]
    stale = is_stale(use_case, use_case.entity(shared.entity_id), deps.clock, path_of(shared.path), stored.first)
    encoded = encoded.stale if stale else encoded
    return with_fields(
        encoded.body(WHOLE), {"stale": stale, "fallback": fallback_of(encoded.forecast.degraded_reasons)}
    )
