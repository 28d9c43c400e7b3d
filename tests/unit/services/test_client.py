"""The Python client against both services over real sockets, and against a server that fails."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel
from pytest_httpserver import HTTPServer

from dualcast.curves.forecast import Forecast
from dualcast_client import AnswerError, Dualcast, UnavailableError, answers
from services.api.encoding import WHOLE, EncodedCurve
from services.api.schemas import curves, status
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from services.http.formats import with_fields
from services.http.problems import Problem
from tests import services_world as world
from tests.client_example import run_client_example
from tests.conftest import ROOT
from tests.served import served
from tests.unit.services.fake_id_svc import fake_id_service

PROBLEM = {"type": "urn:dualcast:problem:no-forecast", "title": "No forecast", "status": 503, "detail": "none yet"}


@pytest.fixture
def deps() -> DayAheadDeps:
    return world.filled_da_deps()


@pytest.fixture
def id_service(deps: DayAheadDeps) -> Iterator[Dualcast]:
    intraday = fake_id_service(world.catalogue())
    with served(build_app(deps)) as da_svc, served(intraday.app) as id_svc, Dualcast(da_svc, id_svc) as client:
        yield client


def test_a_day_ahead_frame_has_the_quantiles_and_the_fields_of_the_curve(id_service: Dualcast) -> None:
    day = id_service.day_ahead("DE", date(2022, 5, 4))
    assert len(day) == 24
    assert day["valid_time"].iloc[0] == pd.Timestamp("2022-05-03T22:00:00Z")
    assert (day["q10"] < day["q50"]).all()
    assert (day["q50"] < day["q90"]).all()
    first = day.iloc[0]
    assert (first["unit"], first["model_version"], first["stale"], first["degraded"]) == ("MW", "1", False, False)
    assert first["input_age_seconds"] == 3 * 3600
    assert first["delivery_date"] == date(2022, 5, 4)


def test_parameters_reach_the_service(id_service: Dualcast) -> None:
    earlier = id_service.day_ahead("DE", as_of=datetime(2022, 5, 2, 12, tzinfo=UTC), horizon=timedelta(hours=2))
    assert len(earlier) == 2
    assert earlier["issued_at"].iloc[0] == pd.Timestamp("2022-05-02T09:00:00Z")
    median = id_service.intraday("DE", include_confidence=False)
    assert "q50" in median
    assert "q10" not in median


def test_intraday_returns_a_scored_or_a_published_curve(id_service: Dualcast) -> None:
    scored, published = id_service.intraday("DE"), id_service.intraday("DE", published=True)
    assert scored["model_version"].iloc[0] == "2"
    assert published["model_version"].iloc[0] == "1"
    assert id_service.predict("DE", model_version="previous")["model_version"].iloc[0] == "1"


def test_a_what_if_is_marked_as_degraded(id_service: Dualcast) -> None:
    answer = id_service.predict("DE", features={"load_newest": None})
    assert answer["degraded"].all()
    assert "overridden:load_newest" in answer["degraded_reasons"].iloc[0]


def test_problems_of_entities_without_a_curve_are_in_the_frame_attributes(id_service: Dualcast) -> None:
    every = id_service.day_ahead(["DE", "XX"])
    assert every["entity_id"].unique().tolist() == ["DE"]
    (problem,) = every.attrs["problems"]
    assert (problem["status"], problem["title"]) == (404, "Unknown entity")


def test_issued_curves_of_all_pages_have_actuals(id_service: Dualcast) -> None:
    record = id_service.issued("intraday", "DE", world.NOW - timedelta(hours=6), world.NOW)
    assert record["issued_at"].nunique() > 24
    known = record.dropna(subset="actual")
    ratio = known["q50"] / known["actual"]
    assert ratio.between(1.0049, 1.0051).all()
    true = id_service.history("DE", world.NOW - timedelta(hours=6), world.NOW)
    assert len(true) == 24
    assert (true["reference"] / true["actual"]).between(1.039, 1.041).all()


def test_the_client_imports_only_its_dependencies() -> None:
    folder = ROOT / "services/client/dualcast_client"
    project = tomllib.loads((folder.parent / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]["pandas"]
    allowed = {"dualcast_client", *(re.split(r"[<>=]", name)[0] for name in [*project["dependencies"], *optional])}
    found = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
    assert found - set(sys.stdlib_module_names) <= allowed


def test_the_client_works_without_pandas(deps: DayAheadDeps) -> None:
    program = """if True:
        import sys
        sys.modules["pandas"] = None
        from dualcast_client import Api
        with Api(sys.argv[1]) as api:
            print(len(api.day_ahead("DE")["points"]), api.status()["use_case"]["unit"])
    """
    with served(build_app(deps)) as da_svc:
        ended = subprocess.run(
            [sys.executable, "-c", program, da_svc], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.stdout == "24 MW\n", ended.stderr


@pytest.mark.parametrize(
    ("typed", "models"),
    [
        (answers.Point, [curves.PointInfo, curves.IssuedPoint]),
        (answers.Input, [curves.InputInfo]),
        (answers.Curve, [curves.DayAheadForecast, curves.IntradayForecast, curves.IssuedForecast]),
        (answers.Problem, [Problem]),
        (answers.HistoryPoint, [curves.HistoryPoint]),
        (answers.History, [curves.History]),
        (answers.Errors, [status.Errors, status.HorizonErrors]),
        (answers.EntityErrors, [status.EntityErrors]),
        (answers.CurveState, [status.CurveState, status.DayAheadState]),
        (answers.EntityStatus, [status.EntityStatus]),
        (answers.Clock, [status.ClockStatus]),
        (answers.UseCase, [status.UseCaseStatus]),
        (answers.Feed, [status.FeedStatus]),
        (answers.Circuit, [status.CircuitStatus]),
        (answers.DayAheadStatus, [status.DayAheadStatus]),
        (answers.LoadedModel, [status.LoadedModel, status.RefusedModel]),
        (answers.IntradayEntityStatus, [status.IntradayEntityStatus]),
        (answers.IntradayStatus, [status.IntradayStatus]),
    ],
)
def test_the_types_of_answers_have_the_fields_of_the_api(typed: Any, models: list[type[BaseModel]]) -> None:
    fields = [set(model.model_fields) for model in models]
    assert set(typed.__annotations__) == set.union(*fields)
    assert typed.__required_keys__ == set.intersection(*fields)


def test_problems_raise_answer_error(id_service: Dualcast) -> None:
    with pytest.raises(AnswerError, match="XX") as caught:
        id_service.day_ahead("XX")
    assert (caught.value.status, caught.value.kind) == (404, "unknown-entity")
    with pytest.raises(ValueError, match="no time zone"):
        id_service.day_ahead("DE", as_of=datetime(2022, 5, 2, 12))  # noqa: DTZ001


def test_the_example_in_the_readme_runs(deps: DayAheadDeps) -> None:
    with served(build_app(deps)) as da_svc, served(fake_id_service(world.catalogue()).app) as id_svc:
        shown = run_client_example(da_svc, id_svc)
    assert "404 unknown-entity" in shown


def test_a_request_that_fails_temporarily_is_repeated(httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request("/api/v1/status").respond_with_json(PROBLEM, 503, {"Retry-After": "0"})
    httpserver.expect_ordered_request("/api/v1/status").respond_with_data("no such host", 502)
    httpserver.expect_ordered_request("/api/v1/status").respond_with_json({"use_cases": ["de_load"]})
    with Dualcast(httpserver.url_for("/")) as client:
        assert client.status()["use_cases"] == ["de_load"]


def test_retries_end_after_the_patience(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/v1/status").respond_with_json(PROBLEM, 503, {"Retry-After": "0"})
    with (
        Dualcast(httpserver.url_for("/"), patience=timedelta(seconds=0.2)) as client,
        pytest.raises(AnswerError, match="none yet"),
    ):
        client.status()
    with (
        Dualcast("http://127.0.0.1:9", patience=timedelta(seconds=0.2)) as client,
        pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9: .*dualcast up da-svc"),
    ):
        client.status()


def test_a_service_that_has_never_answered_is_tried_for_the_timeout_only() -> None:
    before = time.monotonic()
    with (
        Dualcast("http://127.0.0.1:9", patience=timedelta(seconds=30), timeout=timedelta(seconds=1)) as client,
        pytest.raises(UnavailableError),
    ):
        client.status()
    assert time.monotonic() - before < 10.0


def test_a_broken_stream_is_reopened_without_repeating_curves(httpserver: HTTPServer) -> None:
    bodies = [_event(world.day_ahead(date(2022, 5, day))) for day in (3, 4)]
    address, kind = "/api/v1/events", "text/event-stream"
    httpserver.expect_ordered_request(address).respond_with_data(bodies[0], content_type=kind)
    httpserver.expect_ordered_request(address).respond_with_json(PROBLEM, 503, {"Retry-After": "0"})
    httpserver.expect_ordered_request(address).respond_with_data(bodies[0] + bodies[1], content_type=kind)
    with Dualcast(httpserver.url_for("/")) as client:
        stream = client.stream("day-ahead", "DE")
        issues = [next(stream)["issued_at"].iloc[0] for _ in range(2)]
    assert issues == [pd.Timestamp("2022-05-02T09:00:00Z"), pd.Timestamp("2022-05-03T09:00:00Z")]
    assert httpserver.log[0][0].args["path"] == "day-ahead"


def test_a_key_or_a_token_is_sent(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/api/v1/status").respond_with_json({})
    monkeypatch.setenv("DUALCAST_API_KEY", "from-the-environment")
    for client in (Dualcast(httpserver.url_for("/")), Dualcast(httpserver.url_for("/"), token="abc")):
        with client:
            client.status()
    first, second = (request.headers for request, _ in httpserver.log)
    assert first["X-API-Key"] == "from-the-environment"
    assert second["Authorization"] == "Bearer abc"
    assert "X-API-Key" not in second


def _event(curve: Forecast) -> str:
    body = with_fields(EncodedCurve(curve).body(WHOLE), {"fallback": None}).decode()
    return f"event: day_ahead\nid: DE@1\ndata: {body}\n\n"
