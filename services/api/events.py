"""New curves as they are published, by server-sent events and by WebSocket.

Whoever connects first gets the newest curve of each entity, so that nothing has to be asked for besides, after a break
either. A slow reader skips curves that a newer one of the same entity has replaced, and holds nobody up. Whoever loses
access gets no further curve: the connection ends in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse, ServerSentEvent

from dualcast.catalogue import Path_, UseCase, path_identifier
from dualcast.curves.fallbacks import fallback_of
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import micros
from services.access.control import check_access, check_again
from services.api.application import Shared, SharedDeps, entity_of, find_use_case, visible_entities
from services.api.encoding import WHOLE
from services.book.curves import CurveBook, StoredCurve
from services.http.formats import with_fields
from services.http.params import EntityIds, UseCaseName
from services.http.problems import ProblemError

# A socket's own codes begin here: 4403 is what 403 is elsewhere.
_PROBLEMS = 4000
PathOption = Annotated[Path_, Query(description="which of the two paths")]
router = APIRouter()
sockets = APIRouter(prefix="/api/v1", dependencies=[Depends(check_access)])


class Subscription:
    """The curves that one reader waits for: of each entity the newest that it has not had."""

    def __init__(self, use_case: UseCase, path: Path_, entity_ids: Collection[str]) -> None:
        self._wanted = use_case.use_case, path_identifier(path), frozenset(entity_ids)
        self._waiting: dict[str, StoredCurve] = {}
        self._come = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def open(self, curves: CurveBook) -> Iterator[None]:
        """Listen, beginning with the newest of each entity."""
        use_case, path, entity_ids = self._wanted
        end = curves.listen(self._heard)
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
            end()

    async def next(self) -> StoredCurve:
        """The next curve, when it comes."""
        while not self._waiting:
            self._come.clear()
            await self._come.wait()
        return self._waiting.pop(next(iter(self._waiting)))

    def _heard(self, stored: StoredCurve) -> None:
        """In the feed's thread."""
        use_case, path, entity_ids = self._wanted
        forecast = stored.forecast
        if (forecast.use_case, forecast.path) == (use_case, path) and forecast.entity_id in entity_ids:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._put, stored)

    def _put(self, stored: StoredCurve) -> None:
        held = self._waiting.get(stored.forecast.entity_id)
        if held is None or held.forecast.issued_at <= stored.forecast.issued_at:
            self._waiting[stored.forecast.entity_id] = stored
        self._come.set()


async def _subscription(
    deps: Shared, use_case: UseCaseName = None, path: PathOption = "intraday", entity_id: EntityIds = None
) -> Subscription:
    """What the parameters ask for, refused before anything is sent."""
    return _subscribed(deps, use_case, path, entity_id)


def _subscribed(deps: SharedDeps, use_case: str | None, path: Path_, entity_id: list[str] | None) -> Subscription:
    found = find_use_case(deps, use_case)
    wanted = [entity_of(found, name).id for name in entity_id or [e.id for e in visible_entities(found)]]
    return Subscription(found, path, wanted)


@router.get("/events", response_class=EventSourceResponse, tags=["events"])
async def events(
    request: Request, deps: Shared, subscription: Annotated[Subscription, Depends(_subscription)]
) -> AsyncIterator[ServerSentEvent]:
    """Curves as server-sent events, as long as the connection lasts: first the newest, then each new one."""
    with subscription.open(deps.curves), suppress(ProblemError):
        while True:
            stored = await subscription.next()
            forecast = stored.forecast
            await check_again(request, forecast.use_case, forecast.entity_id)
            yield ServerSentEvent(
                raw_data=_body(deps, stored).decode(), event=forecast.path, id=f"{forecast.entity_id}@{_mark(forecast)}"
            )


@sockets.websocket("/ws")
async def websocket(
    socket: WebSocket, use_case: UseCaseName = None, path: PathOption = "intraday", entity_id: EntityIds = None
) -> None:
    """The same by WebSocket, one text message a curve.

    Closes with 4404 where there is no such entity, with 4403 where the caller may not see it, and with 4401 where a key
    or token has ended.
    """
    deps: SharedDeps = socket.app.state.deps
    await socket.accept()
    try:
        subscription = _subscribed(deps, use_case, path, entity_id)
    except ProblemError as error:
        await _refuse(socket, error)
        return
    with subscription.open(deps.curves):
        sending = asyncio.create_task(_send(socket, deps, subscription))
        try:
            with suppress(WebSocketDisconnect):
                while True:  # what a reader says is of no interest, that it leaves is
                    await socket.receive_text()
        finally:
            sending.cancel()


async def _send(socket: WebSocket, deps: SharedDeps, subscription: Subscription) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # it left while something was on its way
        while True:
            stored = await subscription.next()
            try:
                await check_again(socket, stored.forecast.use_case, stored.forecast.entity_id)
            except ProblemError as error:
                await _refuse(socket, error)
                return
            await socket.send_text(_body(deps, stored).decode())


async def _refuse(socket: WebSocket, error: ProblemError) -> None:
    await socket.close(_PROBLEMS + error.status, error.detail[:120])


def _body(deps: SharedDeps, stored: StoredCurve) -> bytes:
    fallback = fallback_of(stored.forecast.degraded_reasons)
    return with_fields(deps.encoded.of(stored).body(WHOLE), {"fallback": fallback})


def _mark(forecast: Forecast) -> int:
    return micros(forecast.issued_at)
