"""Requests that come while others are being scored wait, and are then scored together.

A curve alone costs hardly less than ten at once: most of the time goes into calls, not into numbers. And one thread
that scores does not wait for other threads' locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
_MOST = 256


class Batcher(Generic[Q, A]):
    """Hands questions to ``work`` in a thread, together with all others that wait. Belongs to one event loop."""

    def __init__(self, work: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._work = work
        self._waiting: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, questions: Sequence[Q]) -> Sequence[A]:
        """The answers, in order. Raises what ``work`` raises."""
        answers: asyncio.Future[Sequence[A]] = asyncio.get_running_loop().create_future()
        self._waiting.append((questions, answers))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answers

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # let in all that has come by now
                batch = self._next()
                asked = [question for questions, _ in batch for question in questions]
                try:
                    found = await asyncio.to_thread(self._work, asked)
                except Exception as error:  # noqa: BLE001 - it belongs to those who asked
                    for _, answers in batch:
                        _settle(answers, error)
                else:
                    begin = 0
                    for questions, answers in batch:
                        _settle(answers, found[begin : begin + len(questions)])
                        begin += len(questions)
        finally:
            self._running = None

    def _next(self) -> list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]]:
        """The requests whose questions are worked on at once: at least one, and not many more than ``_MOST``."""
        batch, count = [], 0
        while self._waiting and count < _MOST:
            batch.append(self._waiting.pop(0))
            count += len(batch[-1][0])
        return batch


def _settle(answers: asyncio.Future[Sequence[A]], result: Sequence[A] | Exception) -> None:
    """Answer whoever still waits."""
    if answers.done():
        return
    if isinstance(result, Exception):
        answers.set_exception(result)
    else:
        answers.set_result(result)
