"""New curves by server-sent events, over a real socket: first the newest, then each new one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import httpx2

from dualcast.catalogue import load_use_case
from services.da_svc.app import build_app
from tests import services_world as world
from tests.served import next_event, served


def test_events_start_with_the_newest_curve_and_continue_with_each_new_one() -> None:
    deps = world.filled_da_deps()
    with served(build_app(deps)) as address, httpx2.Client(timeout=10.0) as client:
        with client.stream("GET", f"{address}/api/v1/events", params={"path": "day-ahead"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            event, newest = next_event(lines)
            assert (event, newest["issued_at"]) == ("day_ahead", "2022-05-03T09:00:00Z")
            deps.curves.add(world.intraday(world.NOW + timedelta(minutes=15)))
            deps.curves.add(replace(world.day_ahead(date(2022, 5, 5)), degraded_reasons=["fallback: last_stored"]))
            _, later = next_event(lines)
            assert (later["path"], later["fallback"]) == ("day_ahead", "last_stored")
            assert later["points"][0]["valid_time"] == "2022-05-04T22:00:00Z"
        assert client.get(f"{address}/api/v1/events", params={"entity_id": "XX"}).status_code == 404


def test_events_of_a_path_that_a_use_case_lacks_are_refused() -> None:
    warehouses = load_use_case("warehouses", world.USE_CASES)
    deps = replace(world.da_deps(), catalogue={**world.catalogue(), "warehouses": warehouses})
    with served(build_app(deps)) as address, httpx2.Client(timeout=10.0) as client:
        answer = client.get(f"{address}/api/v1/events", params={"use_case": "warehouses", "path": "intraday"})
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:dualcast:problem:no-such-path")
