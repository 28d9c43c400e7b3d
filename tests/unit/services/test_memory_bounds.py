"""What callers send cannot fill the memory: each cache is bounded in bytes, whatever the requests are."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import jwt
import pytest

from services.access import limits as access_limits
from services.access import tokens as access_tokens
from services.access.limits import RateLimits
from services.access.tokens import Tokens
from services.api import encoding
from services.api.encoding import EncodedCurves, Shape
from services.circuits import Circuits
from services.da_svc.answer_cache import Questions
from services.id_svc.scoring import prediction_log
from services.id_svc.scoring.prediction_log import PredictionLog
from tests import access_world
from tests import services_world as world
from tests.unit.services.fake_id_svc import row_at

MB = 2**20


class Growth:
    """The bytes that were allocated and not released."""

    bytes = 0


@contextmanager
def growth() -> Iterator[Growth]:
    found = Growth()
    tracemalloc.start()
    try:
        yield found
        gc.collect()
        found.bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_bodies_of_all_shapes_of_many_curves_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_MOST_BYTES", MB)
    curves = world.da_deps().curves
    for day in range(40):
        curves.add(world.day_ahead(date(2022, 3, 1) + timedelta(days=day)))
    stored, encoded = curves.days("de_load", "DE"), EncodedCurves()
    shapes = [Shape("json", points, confidence) for points in range(1, 24) for confidence in (True, False)]
    held = [encoded.of(curve) for curve in stored]
    with growth() as found:
        made = sum(len(one.body(shape)) for shape in shapes for one in held)
    assert made > 2.5 * MB
    assert found.bytes < 1.5 * MB
    assert held[0].body(shapes[0]) == encoding.EncodedCurve(stored[0].forecast).body(shapes[0])


def test_the_bodies_of_discarded_curves_are_released() -> None:
    encoded = EncodedCurves()
    with growth() as found:
        for _ in range(600):
            encoded.own(world.intraday(world.NOW)).body(Shape("json", 1, confidence=False))
    assert found.bytes < MB


def test_questions_with_long_headers_and_names_are_not_remembered() -> None:
    questions = Questions(world.filled_da_deps())
    with growth() as found:
        for number in range(1_000):
            sent = (b"*/*;x=%d" % number + b"0" * 30_000, "DE"), (b"", f"{number}" + "\U0001f600" * 8_000)
            for accept, entity_id in sent:
                questions.parse("/api/v1/forecasts/day-ahead", entity_id, b"", accept)
    assert found.bytes < MB


def test_tokens_with_many_grants_are_remembered_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tokens, "_MOST_BYTES", 4 * MB)
    tokens = Tokens(access_world.token_settings(jwt_secret=access_world.SECRET))
    grants = [f"de_load/{i}" for i in range(300)]

    def token(number: int) -> str:
        return jwt.encode(access_world.claims(sub=f"desk {number}", access=grants), access_world.SECRET, "HS256")

    async def call() -> None:
        for number in range(400):
            await tokens.identity(token(number))
        assert await tokens.identity(last) is await tokens.identity(last)

    last = token(-1)
    with growth() as found:
        asyncio.run(call())
    assert found.bytes < 5 * MB


def test_callers_without_number_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_limits, "_MAX_CALLERS", 200)
    circuits = Circuits()
    with suppress(ConnectionError), circuits.calling("redis-limits"):
        raise ConnectionError

    async def call() -> None:
        limits = RateLimits(access_world.NO_REDIS, "600/minute", circuits)
        for number in range(4_000):
            await limits.hit(f"address:2001:db8:{number:x}::1")

    with growth() as found:
        asyncio.run(call())
    assert found.bytes < MB


def test_what_ifs_are_logged_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "_MAX_VALUES", 30_000)
    log = PredictionLog(world.settings(world.frozen(), lake=str(tmp_path)))
    forecast = replace(world.intraday(world.NOW), degraded_reasons=["overridden:tso"])
    row = row_at(world.NOW)
    with growth() as found:
        for number in range(300):
            features = {f"f{i}": [float(number * 100_000 + i * 1000 + k) for k in range(24)] for i in range(40)}
            log.add(replace(row, features=features), forecast)
    assert found.bytes < 2.5 * MB
