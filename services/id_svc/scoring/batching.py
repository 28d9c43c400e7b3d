"""Batches requests: those that arrive while a batch is scored are scored together in the next batch.

One curve takes nearly as long as ten at once, because most of the time is spent in calls, not in arithmetic. A single
scoring thread also avoids contention for locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")
_MAX_BATCH = 256


class Batcher(Generic[Request, Result]):
    """Passes all pending requests to ``work`` in a thread, one batch at a time. Belongs to one event loop."""

    def __init__(self, work: Callable[[Sequence[Request]], Sequence[Result]]) -> None:
        self._work = work
        self._pending: list[tuple[Sequence[Request], asyncio.Future[Sequence[Result]]]] = []
        self._running: asyncio.Task[None] | None = None

    async def submit(self, requests: Sequence[Request]) -> Sequence[Result]:
        """The results, in order. Raises what ``work`` raises."""
        results: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._pending.append((requests, results))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await results

    async def _run(self) -> None:
        try:
            while self._pending:
                await asyncio.sleep(0)  # let requests that have arrived join the batch
                batch = self._next()
                batched = [request for requests, _ in batch for request in requests]
                try:
                    found = await asyncio.to_thread(self._work, batched)
                except Exception as error:  # noqa: BLE001 - raised in the requests of the batch
                    for _, results in batch:
                        _settle(results, error)
                else:
                    begin = 0
                    for requests, results in batch:
                        _settle(results, found[begin : begin + len(requests)])
                        begin += len(requests)
        finally:
            self._running = None

    def _next(self) -> list[tuple[Sequence[Request], asyncio.Future[Sequence[Result]]]]:
        """The next batch: at least one call, and not many more than ``_MAX_BATCH`` requests."""
        batch, count = [], 0
        while self._pending and count < _MAX_BATCH:
            batch.append(self._pending.pop(0))
            count += len(batch[-1][0])
        return batch


def _settle(future: asyncio.Future[Sequence[Result]], result: Sequence[Result] | Exception) -> None:
    """Set the result, unless the request was cancelled."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
