"""da-svc as a client sees it: curves, staleness, history, status, problems."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from dualcast.catalogue import load_use_case
from dualcast.curves.forecast import Point
from dualcast.records import ObservationBatch
from dualcast.timegrid import Clock
from services.api.schemas.curves import DayAheadForecast, History, IntradayForecast
from services.book.curves import CurveCache, StoredCurve
from services.da_svc.answer_cache import Questions
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import services_world as world
from tests.conftest import ROOT

DAY_AHEAD = "/api/v1/forecasts/day-ahead/DE"
PROBLEM = "application/problem+json"


@pytest.fixture
def deps() -> DayAheadDeps:
    """da-svc with three days of observations and curves, at noon of 2022-05-03."""
    return world.filled_da_deps()


def client_of(deps: DayAheadDeps) -> TestClient:
    return TestClient(build_app(deps), raise_server_exceptions=False)


def test_a_delivery_day_is_returned_as_published(deps: DayAheadDeps) -> None:
    answer = client_of(deps).get(DAY_AHEAD, params={"delivery_date": "2022-05-04"})
    forecast = DayAheadForecast.model_validate_json(answer.content)
    published = world.day_ahead(date(2022, 5, 4))
    assert [p.valid_time for p in forecast.points] == [p.valid_time for p in published.points]
    assert [list(p.quantiles.values()) for p in forecast.points] == [p.values for p in published.points]
    assert list(forecast.points[0].quantiles) == ["0.1", "0.5", "0.9"]
    assert forecast.issued_at == datetime(2022, 5, 3, 9, tzinfo=UTC)
    assert forecast.input_age_seconds == 3 * 3600
    assert (forecast.model.name, forecast.unit, forecast.stale, forecast.fallback) == (
        "model_da_de_load",
        "MW",
        False,
        None,
    )
    assert answer.json()["points"][0]["valid_time"] == "2022-05-03T22:00:00Z"


@pytest.mark.parametrize(("day", "hours"), [(date(2022, 3, 27), 23), (date(2022, 3, 28), 24), (date(2022, 10, 30), 25)])
def test_delivery_days_have_23_24_or_25_hours(day: date, hours: int) -> None:
    cutoff = datetime.combine(day, datetime.min.time(), UTC) - timedelta(hours=12)
    deps = world.da_deps(world.frozen(cutoff))
    deps.curves.add(world.day_ahead(day))
    assert len(client_of(deps).get(DAY_AHEAD).json()["points"]) == hours


def test_without_a_date_the_newest_curve_is_returned(deps: DayAheadDeps) -> None:
    assert client_of(deps).get(DAY_AHEAD).json()["delivery_date"] == "2022-05-04"


def test_the_last_stored_curve_is_returned_as_stale_if_the_newest_is_overdue() -> None:
    deps = world.da_deps(world.frozen(world.NOW + timedelta(days=1)))
    deps.curves.add(world.day_ahead(date(2022, 5, 4)))
    body = client_of(deps).get(DAY_AHEAD).json()
    assert (body["delivery_date"], body["stale"], body["fallback"]) == ("2022-05-04", True, "last_stored")


def test_a_curve_is_not_stale_while_the_job_of_the_day_may_still_run() -> None:
    just_after = datetime(2022, 5, 4, 9, 5, tzinfo=UTC)
    deps = world.da_deps(world.frozen(just_after))
    deps.curves.add(world.day_ahead(date(2022, 5, 4)))
    assert client_of(deps).get(DAY_AHEAD).json()["stale"] is False


def test_a_newer_issue_replaces_an_older_one_but_not_the_reverse(deps: DayAheadDeps) -> None:
    day = date(2022, 5, 4)
    again = world.day_ahead(day, model_version="2")
    deps.curves.add(replace(again, issued_at=again.issued_at + timedelta(minutes=5)))
    deps.curves.add(world.day_ahead(day, model_version="1"))
    assert client_of(deps).get(DAY_AHEAD).json()["model"]["version"] == "2"


def test_the_newest_published_intraday_curve_is_returned(deps: DayAheadDeps) -> None:
    answer = client_of(deps).get("/api/v1/forecasts/intraday/DE")
    forecast = IntradayForecast.model_validate_json(answer.content)
    assert forecast.issued_at == world.NOW
    assert len(forecast.points) == 24


def test_a_late_intraday_curve_is_stored_but_not_sent_to_listeners(deps: DayAheadDeps) -> None:
    heard: list[StoredCurve] = []
    deps.curves.listen(heard.append)
    late = world.intraday(world.NOW - timedelta(minutes=20))
    deps.curves.add(late)
    assert heard == []
    client = client_of(deps)
    assert client.get("/api/v1/forecasts/intraday/DE").json()["issued_at"] == "2022-05-03T12:00:00Z"
    before = client.get("/api/v1/forecasts/intraday/DE", params={"as_of": "2022-05-03T11:44:00Z"}).json()
    assert before["issued_at"] == "2022-05-03T11:40:00Z"


def test_csv_contains_the_numbers_of_json(deps: DayAheadDeps) -> None:
    client = client_of(deps)
    answers = [client.get(DAY_AHEAD, params={"format": "csv"}), client.get(DAY_AHEAD, headers={"Accept": "text/csv"})]
    for answer in answers:
        assert answer.headers["content-type"].startswith("text/csv")
        header, first, *rest = answer.text.splitlines()
        assert header == "entity_id,issued_at,valid_time,q10,q50,q90,model_version,degraded_reasons,simulated"
        assert len(rest) == 23
        values = world.day_ahead(date(2022, 5, 4)).points[0].values
        assert first.split(",") == [
            "DE",
            "2022-05-03T09:00:00Z",
            "2022-05-03T22:00:00Z",
            *map(str, values),
            "1",
            "",
            "True",
        ]


def test_requests_that_differ_in_spelling_or_shape_share_one_cached_answer(deps: DayAheadDeps) -> None:
    client = client_of(deps)
    moment, same_moment = "2022-05-03T11:00:00Z", "2022-05-03T13:00:00+02:00"
    bodies = [client.get(DAY_AHEAD, params={"as_of": text, "junk": i}) for i, text in enumerate([moment, same_moment])]
    assert bodies[0].json()["points"] == bodies[1].json()["points"]
    client.get(DAY_AHEAD, params={"as_of": moment, "format": "csv"})
    client.get(DAY_AHEAD, params={"as_of": moment, "use_case": "de_load"}, headers={"Accept": "text/csv"})
    short = client.get(DAY_AHEAD, params={"as_of": moment, "horizon": "PT2H"})
    assert (len(deps.answers), len(short.json()["points"])) == (1, 2)
    client.get(DAY_AHEAD)
    assert len(deps.answers) == 2


def test_a_repeated_question_is_parsed_once_and_a_long_one_is_not_kept(deps: DayAheadDeps) -> None:
    questions = Questions(deps)
    ask = partial(questions.parse, "/api/v1/forecasts/day-ahead", "DE")
    assert ask(b"horizon=PT6H", b"text/csv") is ask(b"horizon=PT6H", b"text/csv")
    for number in range(3):
        parsed = ask(b"horizon=PT6H", b"text/csv;x=%d" % number + b"0" * 500)
        assert parsed is not None
        key, shape = parsed
        assert (key.entity_id, shape.points, shape.format) == ("DE", 6, "csv")
    assert len(questions) == 1


def test_a_path_that_a_use_case_lacks_is_a_problem() -> None:
    stores = load_use_case("warehouses", ROOT / "use_cases")
    client = TestClient(build_app(world.da_deps(known={**world.catalogue(), "warehouses": stores})))
    answer = client.get(f"/api/v1/forecasts/intraday/{stores.entities[0].id}", params={"use_case": "warehouses"})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:dualcast:problem:no-such-path")


def test_history_has_actuals_until_now_and_the_reference_also_later(deps: DayAheadDeps) -> None:
    answer = client_of(deps).get("/api/v1/history/DE")
    history = History.model_validate_json(answer.content)
    past = [p for p in history.points if p.valid_time < world.NOW]
    ahead = [p for p in history.points if p.valid_time >= world.NOW]
    assert history.simulated
    assert [p.actual for p in past] == [world.true_load(p.valid_time) for p in past]
    assert all(p.actual is None and p.reference is not None for p in ahead)
    assert len(past) == 2 * 96


def test_corrections_are_returned_and_invalid_values_are_not(deps: DayAheadDeps) -> None:
    slot = world.NOW - timedelta(hours=1)
    later = world.NOW - timedelta(minutes=1)
    batch: list[Any] = [
        world.observation("load", slot, 51234.0, later),
        world.observation("load", slot + timedelta(minutes=15), 510000.0, later),
        world.observation("load", slot + timedelta(minutes=30), float("nan"), later),
        world.observation("load", slot + timedelta(minutes=30), 50.0, later, unit="GW"),
    ]
    deps.series.add([world.message(ObservationBatch("DE", batch).to_record())])
    points = client_of(deps).get("/api/v1/history/DE").json()["points"]
    shown = {p["valid_time"]: p["actual"] for p in points}
    assert shown["2022-05-03T11:00:00Z"] == 51234.0
    assert shown["2022-05-03T11:15:00Z"] == world.true_load(slot + timedelta(minutes=15))
    assert shown["2022-05-03T11:30:00Z"] == world.true_load(slot + timedelta(minutes=30))


def test_status_reports_the_errors_of_both_paths_and_of_the_reference(deps: DayAheadDeps) -> None:
    entity = client_of(deps).get("/api/v1/status").json()["entities"][0]
    day_ahead = entity["errors"]["day_ahead"]
    assert day_ahead["mape"] == pytest.approx(1.0)
    assert day_ahead["reference_mape"] == pytest.approx(4.0)
    assert day_ahead["coverage"] == 100.0
    by_horizon = {e["horizon"]: e for e in entity["errors"]["intraday"]}
    assert list(by_horizon) == ["PT15M", "PT1H", "PT2H", "PT4H", "PT6H"]
    assert by_horizon["PT1H"]["mape"] == pytest.approx(0.5)
    # three days of origins every quarter-hour; the last four have no actual at this horizon yet
    assert by_horizon["PT1H"]["points"] == 3 * 96 + 1 - 4
    assert entity["intraday"]["model"] == {"name": "model_id_de_load", "version": "1"}
    assert [d["delivery_date"] for d in entity["day_ahead"]][-1] == "2022-05-04"


def test_status_names_the_interval_of_each_path(deps: DayAheadDeps) -> None:
    shown = client_of(deps).get("/api/v1/status").json()["use_case"]["interval"]
    assert shown == {"day_ahead": [0.1, 0.9], "intraday": [0.1, 0.9]}


def test_curves_without_the_levels_of_the_interval_have_errors_and_no_coverage(deps: DayAheadDeps) -> None:
    for stored in deps.curves.days("de_load", "DE"):
        changed = replace(stored.forecast, quantile_levels=[0.05, 0.5, 0.95], model_version="2")
        deps.curves.add(replace(changed, issued_at=changed.issued_at + timedelta(minutes=1)))
    errors = client_of(deps).get("/api/v1/status").json()["entities"][0]["errors"]
    assert errors["day_ahead"]["mape"] == pytest.approx(1.0)
    assert errors["day_ahead"]["coverage"] is None
    assert errors["intraday"][0]["coverage"] == 100.0


def test_status_reports_the_clock() -> None:
    clock = Clock(
        start=world.NOW, speed=60, until=world.NOW + timedelta(days=1), epoch=datetime(2999, 1, 1, tzinfo=UTC)
    )
    shown = client_of(world.da_deps(clock)).get("/api/v1/status").json()["clock"]
    assert shown["now"] == "2022-05-03T12:00:00Z"
    assert (shown["replay"], shown["running"], shown["speed"]) == (True, False, 60)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/api/v1/forecasts/day-ahead/XX", 404, "urn:dualcast:problem:unknown-entity"),
        ("GET", f"{DAY_AHEAD}?use_case=nope", 404, "urn:dualcast:problem:unknown-use-case"),
        ("GET", f"{DAY_AHEAD}?delivery_date=2022-05-09", 404, "urn:dualcast:problem:no-forecast"),
        ("GET", f"{DAY_AHEAD}?delivery_date=1980-01-01", 404, "urn:dualcast:problem:no-forecast"),
        ("GET", f"{DAY_AHEAD}?delivery_date=yesterday", 422, "urn:dualcast:problem:invalid-request"),
        ("GET", f"{DAY_AHEAD}?format=xml", 422, "urn:dualcast:problem:invalid-request"),
        ("GET", "/api/v1/history/DE?from=2022-05-03T00:00:00", 422, "urn:dualcast:problem:invalid-request"),
        ("GET", "/api/v1/history/DE?from=1999-01-01T00:00:00Z", 422, "urn:dualcast:problem:invalid-request"),
        ("GET", "/api/v1/nothing", 404, "about:blank"),
        ("POST", DAY_AHEAD, 405, "about:blank"),
    ],
)
def test_an_invalid_request_returns_a_problem(
    deps: DayAheadDeps, method: str, path: str, status: int, kind: str
) -> None:
    answer = client_of(deps).request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, kind)
    assert answer.headers["content-type"] == PROBLEM
    assert problem["detail"]
    assert problem["instance"] == path.split("?", maxsplit=1)[0]


def test_an_internal_error_returns_a_problem_without_details(
    deps: DayAheadDeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(deps.curves, "days", fail)
    with capture_logs() as logs:
        answer = client_of(deps).get(DAY_AHEAD)
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text
    assert [log["path"] for log in logs] == [DAY_AHEAD]


def test_without_a_curve_the_service_is_not_ready_and_reports_why() -> None:
    client = client_of(world.da_deps())
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").json()["detail"] == "no day-ahead curve yet"
    assert client.get("/health/ready").status_code == 503
    answer = client.get(DAY_AHEAD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_with_a_curve_the_service_is_ready(deps: DayAheadDeps) -> None:
    assert client_of(deps).get("/health/ready").json() == {"ready": True, "missing": []}


def test_response_headers_forbid_other_origins(deps: DayAheadDeps) -> None:
    for path in ("/", "/docs", "/page/plotly.min.js", DAY_AHEAD, "/api/v1/nothing"):
        headers = client_of(deps).get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_openapi_documents_problems_and_shows_examples(deps: DayAheadDeps) -> None:
    document = client_of(deps).get("/openapi.json").json()
    operation = document["paths"]["/api/v1/forecasts/day-ahead/{entity_id}"]["get"]
    assert set(operation["responses"]) == {"200", "304", "401", "403", "404", "422", "429", "503"}
    assert list(operation["responses"]["422"]["content"]) == [PROBLEM]
    example = document["components"]["schemas"]["DayAheadForecast"]["example"]
    # FastAPI leaves nulls out of the document
    assert DayAheadForecast.model_validate({"fallback": None} | example).unit == "MW"
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_a_day_within_longer_curves_is_taken_from_the_newest_one() -> None:
    warehouses = load_use_case("warehouses", ROOT / "use_cases")
    site = warehouses.entities[0]
    book = CurveCache({"warehouses": warehouses})
    for first in (date(2022, 3, 21), date(2022, 3, 23)):
        points = [Point(t, [1.0, 2.0, 3.0]) for t in warehouses.delivery_times(site, first)]
        names: dict[str, Any] = {"use_case": "warehouses", "entity_id": site.id, "resolution": "P1D"}
        book.add(replace(world.day_ahead(first), issued_at=warehouses.cutoff(site, first), points=points, **names))
    found = [book.day_ahead("warehouses", site.id, date(2022, 3, day)) for day in range(20, 31)]
    begins = [curve and curve.delivery_day for curve in found]
    assert begins == [None, *[date(2022, 3, 21)] * 2, *[date(2022, 3, 23)] * 7, None]
