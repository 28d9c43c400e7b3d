"""The real format of each source on days of 23, 24 and 25 hours, and its responses without data."""

from __future__ import annotations

import io
import json
import re
import zipfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from dualcast.catalogue import UseCase, load_catalogue
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from dualcast.timegrid import Clock, day_bounds
from streaming.ingest.pull.entsoe import EntsoePuller
from streaming.ingest.pull.esios import EsiosPuller
from streaming.ingest.pull.http import RefusedError, UnavailableError
from streaming.ingest.pull.open_meteo import OpenMeteoPuller
from streaming.ingest.pull.published_vintages import VintagesInMemory
from streaming.ingest.pull.run import Pull, Span
from streaming.ingest.pull.smard import SmardPuller
from streaming.ingest.signals import Stop
from streaming.ingest.source import Puller, Values
from streaming.ingest.sources import open_puller
from tests.unit.streaming.pull.conftest import DAY, HOUR, QUARTER, QUICK, ROOT
from tests.unit.streaming.pull.test_new_vintages import RecordingSink

SPRING, AUTUMN = (datetime(2022, 3, 27, tzinfo=UTC).date(), 23), (datetime(2022, 10, 30, tzinfo=UTC).date(), 25)


def pulled(puller: Puller, start: datetime, end: datetime, batch: int = 0) -> list[Values]:
    with closing(puller):
        return list(puller.pull(puller.batches[batch], start, end))


def columns(values: list[Values]) -> pd.DataFrame:
    return pd.concat([v.columns for v in values], ignore_index=True)


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


# --- SMARD ---


def smard(httpserver: HTTPServer, weeks: dict[datetime, list[float | None]], created: datetime | None = None) -> None:
    index = {"timestamps": [milliseconds(week) for week in weeks]}
    httpserver.expect_request("/api/410/DE/index_quarterhour.json").respond_with_json(index)
    for week, values in weeks.items():
        series = [[milliseconds(week + i * QUARTER), value] for i, value in enumerate(values)]
        made = {} if created is None else {"created": milliseconds(created)}
        body = {"meta_data": {"version": 1} | made, "series": series}
        httpserver.expect_request(f"/api/410/DE/410_DE_quarterhour_{milliseconds(week)}.json").respond_with_json(body)


@pytest.mark.parametrize(("day", "hours"), [SPRING, AUTUMN])
def test_smard_weeks_with_a_clock_change(
    httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop, day: Any, hours: int
) -> None:
    start, end = day_bounds(day, "Europe/Berlin")
    week = day_bounds(day - timedelta(days=6), "Europe/Berlin")[0]
    count = (end - week) // QUARTER
    smard(httpserver, {week - 7 * DAY: [1.0], week: [float(i) for i in range(count)], end: [7.0]}, created=end)
    found = columns(pulled(SmardPuller(use_case, settings, stop, QUICK), start, end))
    assert len(found) == hours * 4
    assert found["valid_time"].iloc[0] == start
    assert (found["valid_time"].diff().dropna() == QUARTER).all()
    assert found["value"].tolist() == [float(i) for i in range(count - hours * 4, count)]
    assert (found["published_at"] == end).all()


def test_smard_gaps_are_missing_values_and_only_needed_weeks_are_requested(
    httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop
) -> None:
    week = datetime(2022, 3, 20, 23, tzinfo=UTC)
    smard(httpserver, {week - 7 * DAY: [1.0], week: [1.0, None, 3.0], week + 7 * DAY: [1.0]})
    found = columns(pulled(SmardPuller(use_case, settings, stop, QUICK), week, week + DAY))
    np.testing.assert_array_equal(found["value"], [1.0, np.nan, 3.0])
    assert found["published_at"].isna().all()
    assert len(httpserver.log) == 2


def test_truncated_smard_json_is_unavailable(
    httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop
) -> None:
    week = datetime(2022, 3, 20, 23, tzinfo=UTC)
    text = json.dumps({"timestamps": [milliseconds(week)]})[:-1]
    httpserver.expect_request("/api/410/DE/index_quarterhour.json").respond_with_data(text)
    with pytest.raises(UnavailableError, match="invalid response"):
        pulled(SmardPuller(use_case, settings, stop, QUICK), week, week + DAY)


# --- ENTSO-E ---

NAMESPACE = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"


def load_document(periods: str, curve: str = "A01", unit: str = "MAW") -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<GL_MarketDocument xmlns="{NAMESPACE}">
  <mRID>x</mRID><type>A65</type><process.processType>A16</process.processType>
  <createdDateTime>2022-03-27T12:00:00Z</createdDateTime>
  <TimeSeries>
    <mRID>1</mRID><outBiddingZone_Domain.mRID codingScheme="A01">10Y1001A1001A83F</outBiddingZone_Domain.mRID>
    <quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name><curveType>{curve}</curveType>
    {periods}
  </TimeSeries>
</GL_MarketDocument>"""


def period(start: str, end: str, resolution: str, points: dict[int, float]) -> str:
    inside = "".join(f"<Point><position>{p}</position><quantity>{v}</quantity></Point>" for p, v in points.items())
    return (
        f"<Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{inside}</Period>"
    )


def acknowledgement(text: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Acknowledgement_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0">
  <mRID>be3917c7</mRID><createdDateTime>2022-03-27T10:45:36Z</createdDateTime>
  <Reason><code>999</code><text>{text}</text></Reason>
</Acknowledgement_MarketDocument>"""


START = datetime(2022, 3, 26, 23, tzinfo=UTC)
FIRST_HOUR = period("2022-03-26T23:00Z", "2022-03-27T00:00Z", "PT15M", {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0})


def entsoe(use_case: UseCase, settings: Settings, stop: Stop) -> list[Values]:
    return pulled(EntsoePuller(use_case, settings, stop, QUICK), START, START + DAY)


def test_entsoe_load(httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop) -> None:
    query = {
        "documentType": "A65",
        "processType": "A16",
        "outBiddingZone_Domain": "10Y1001A1001A83F",
        "periodStart": "202203262300",
        "periodEnd": "202203272300",
        "securityToken": "s3cret",
    }
    second = period("2022-03-27T00:15Z", "2022-03-27T00:30Z", "PT15M", {1: 60.0})
    httpserver.expect_request("/api", query_string=query).respond_with_data(load_document(FIRST_HOUR + second))
    found = columns(entsoe(use_case, settings, stop))
    assert found["valid_time"].tolist() == [START + i * QUARTER for i in (0, 1, 2, 3, 5)]
    assert found["value"].tolist() == [10.0, 20.0, 30.0, 40.0, 60.0]


def test_entsoe_omitted_points_repeat_in_a_stepped_curve_and_are_missing_in_others(
    httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop
) -> None:
    part = period("2022-03-26T23:00Z", "2022-03-27T00:00Z", "PT15M", {1: 10.0, 3: 30.0})
    httpserver.expect_ordered_request("/api").respond_with_data(load_document(part, curve="A03"))
    httpserver.expect_ordered_request("/api").respond_with_data(load_document(part))
    assert columns(entsoe(use_case, settings, stop))["value"].tolist() == [10.0, 10.0, 30.0, 30.0]
    np.testing.assert_array_equal(columns(entsoe(use_case, settings, stop))["value"], [10.0, np.nan, 30.0, np.nan])


@pytest.mark.parametrize("status", [200, 400])
def test_entsoe_without_data_gives_no_values(
    httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop, status: int
) -> None:
    text = acknowledgement("No matching data found for Data item Actual Total Load [6.1.A]")
    httpserver.expect_request("/api").respond_with_data(text, status)
    assert entsoe(use_case, settings, stop) == []
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    ("body", "status", "error", "text"),
    [
        (acknowledgement("Delivered time interval is not valid"), 400, RefusedError, "time interval is not valid"),
        ("Unauthorized", 401, RefusedError, "401"),
        (load_document(FIRST_HOUR)[:-30], 200, UnavailableError, "not XML"),
        ("PK\x03\x04 cut short", 200, UnavailableError, "not a zip"),
        ('<!DOCTYPE x [<!ENTITY a "aaa">]><x>&a;</x>', 200, UnavailableError, "not XML"),
        (load_document(FIRST_HOUR, unit="KWT"), 200, RefusedError, "is in KWT, not in MAW"),
        (load_document(FIRST_HOUR.replace("<position>4", "<position>9")), 200, RefusedError, "positions"),
        (load_document(FIRST_HOUR.replace("PT15M", "PT0S")), 200, ValueError, "in steps of"),
        (load_document(FIRST_HOUR.replace("PT15M", "")), 200, ValueError, "ISO 8601"),
        (load_document(period("0002-01-01T00:00Z", "9999-12-31T00:00Z", "PT1S", {1: 1.0})), 200, ValueError, "steps"),
        (load_document(period("1700-01-01T00:00Z", "1700-01-01T01:00Z", "PT15M", {1: 1.0})), 200, ValueError, "1980"),
    ],
)
def test_wrong_entsoe_documents_are_refused(
    httpserver: HTTPServer,
    use_case: UseCase,
    settings: Settings,
    stop: Stop,
    body: str,
    status: int,
    error: type[Exception],
    text: str,
) -> None:
    httpserver.expect_request("/api").respond_with_data(body, status)
    with pytest.raises(error, match=text):
        entsoe(use_case, settings, stop)


@pytest.mark.parametrize(
    ("index", "week"),
    [
        ([1e30], []),
        ([None], []),
        ([milliseconds(START)], [[None, 1.0]]),
        ([milliseconds(START)], [[1e30, 1.0]]),
        ([milliseconds(START)], [[-62135596800000, 1.0]]),
        ([milliseconds(START)], 7),
    ],
)
def test_absurd_smard_answers_fail_their_series_alone(
    httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop, index: list[Any], week: Any
) -> None:
    httpserver.expect_request(re.compile("/api/.*/index_.*")).respond_with_json({"timestamps": index})
    body = {"meta_data": {"version": 1, "created": 1e18}, "series": week}
    httpserver.expect_request(re.compile("/api/.*hour_.*")).respond_with_json(body)
    puller, sink = SmardPuller(use_case, settings, stop, QUICK), RecordingSink()
    with closing(puller):
        span = Span(START, START + DAY)
        (step,) = Pull(use_case, puller, sink, VintagesInMemory({})).run(span, lambda: START + DAY, history=True)
    assert step.observations == 0
    assert step.failed == len(puller.batches)


def test_entsoe_documents_in_a_zip(httpserver: HTTPServer, use_case: UseCase, settings: Settings, stop: Stop) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.xml", load_document(FIRST_HOUR))
        archive.writestr("b.xml", load_document(period("2022-03-27T00:00Z", "2022-03-27T00:15Z", "PT15M", {1: 50.0})))
    answer = Response(packed.getvalue(), 200, content_type="application/zip")
    httpserver.expect_request("/api").respond_with_response(answer)
    assert columns(entsoe(use_case, settings, stop))["value"].tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]


# --- ESIOS ---


def esios(httpserver: HTTPServer, start: datetime, values: list[float], step: timedelta, **more: Any) -> None:
    madrid = pd.date_range(start, periods=len(values), freq=step).tz_convert("Europe/Madrid")
    rows = [
        {
            "value": value,
            "datetime": at.isoformat(timespec="milliseconds"),
            "datetime_utc": at.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tz_time": at.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "geo_id": 8741,
            "geo_name": "Península",
        }
        for at, value in zip(madrid, values, strict=True)
    ]
    body = {"indicator": {"id": 1293, "name": "Demanda real", "values": rows} | more}
    headers = {"x-api-key": "s3cret"}
    httpserver.expect_request("/api/indicators/1293", headers=headers).respond_with_json(body)


@pytest.mark.parametrize(("day", "hours"), [SPRING, AUTUMN])
def test_esios_days_with_a_clock_change(
    httpserver: HTTPServer, es_load: UseCase, settings: Settings, stop: Stop, day: Any, hours: int
) -> None:
    start, end = day_bounds(day, "Europe/Madrid")
    updated = "2022-10-31T00:03:00.000+01:00"
    esios(httpserver, start, [float(i) for i in range(hours * 12)], timedelta(minutes=5), values_updated_at=updated)
    (values,) = pulled(EsiosPuller(es_load, settings, stop, QUICK), start, end)
    assert len(values.columns) == hours * 12
    assert values.columns["valid_time"].iloc[-1] == end - timedelta(minutes=5)
    assert values.columns["valid_time"].is_unique
    assert values.resolution == timedelta(minutes=5)
    assert values.columns["published_at"].iloc[0] == datetime(2022, 10, 30, 23, 3, tzinfo=UTC)


def test_esios_indicator_with_several_regions_requires_geo(
    httpserver: HTTPServer, es_load: UseCase, settings: Settings, stop: Stop
) -> None:
    places = [{"value": 1.0, "datetime_utc": "2022-03-26T23:00:00Z", "geo_id": geo} for geo in (8741, 8742)]
    httpserver.expect_request("/api/indicators/1293").respond_with_json({"indicator": {"values": places}})
    with pytest.raises(RefusedError, match="'geo' must name one"):
        pulled(EsiosPuller(es_load, settings, stop, QUICK), START, START + DAY)


# --- Open-Meteo ---


def weather(count: int, **columns: list[float | None]) -> dict[str, Any]:
    times = [int((START + i * HOUR).timestamp()) for i in range(count)]
    units = {"temperature_2m": "°C", "direct_radiation": "W/m²", "wind_speed_100m": "m/s"}
    return {
        "latitude": 52.52,
        "longitude": 13.4,
        "generationtime_ms": 0.1,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "hourly_units": {"time": "unixtime"} | {name: units[name] for name in columns},
        "hourly": {"time": times} | columns,
    }


def place(level: float, hole: float | None = 1.0) -> dict[str, Any]:
    return weather(
        3, temperature_2m=[level, level, hole], direct_radiation=[0.0, 100.0, 200.0], wind_speed_100m=[1.0, 2.0, 3.0]
    )


def replayed(until: datetime) -> Settings:
    return Settings(clock=Clock(start=until, until=until))


def test_open_meteo_values_are_weighted_means_and_radiation_is_assigned_to_the_hour_before(
    httpserver: HTTPServer, use_case: UseCase, stop: Stop
) -> None:
    levels = [10.0, 20.0, 30.0, 40.0, 50.0]
    answer = [place(level) for level in levels[:4]] + [place(levels[4], None)]
    asked = {"latitude": "52.52,53.55,51.23,50.11,48.14", "start_date": "2022-03-26", "end_date": "2022-03-27"}
    handler = httpserver.expect_request("/api/forecast")
    handler.respond_with_json(answer)
    found = pulled(OpenMeteoPuller(use_case, replayed(START), stop, QUICK), START, START + DAY)
    by_name = {values.series.spec.variable: values.columns for values in found}
    weighted = 10 * 0.20 + 20 * 0.17 + 30 * 0.26 + 40 * 0.13 + 50 * 0.24
    np.testing.assert_allclose(by_name["temperature_2m"]["value"], [weighted, weighted, np.nan])
    assert by_name["direct_radiation"]["value"].tolist() == pytest.approx([100.0, 200.0])
    assert by_name["direct_radiation"]["valid_time"].iloc[0] == START
    assert by_name["wind_speed_100m"]["valid_time"].iloc[0] == START
    ((request, _),) = httpserver.log
    assert {name: request.args[name] for name in asked} == asked
    assert request.args["hourly"] == "temperature_2m,direct_radiation,wind_speed_100m"


def test_open_meteo_requests_old_days_from_the_archive(httpserver: HTTPServer, use_case: UseCase, stop: Stop) -> None:
    for path in ("/history/forecast", "/api/forecast"):
        httpserver.expect_request(path).respond_with_json([place(10.0)] * 5)
    now = START + 90 * DAY
    pulled(OpenMeteoPuller(use_case, replayed(now), stop, QUICK), START, START + 80 * DAY)
    (old, _), (recent, _) = httpserver.log
    assert (old.path, old.args["start_date"], old.args["end_date"]) == ("/history/forecast", "2022-03-26", "2022-04-25")
    assert (recent.path, recent.args["start_date"]) == ("/api/forecast", "2022-04-25")


def test_open_meteo_in_another_unit_is_refused(httpserver: HTTPServer, use_case: UseCase, stop: Stop) -> None:
    answer = [place(10.0)] * 5
    answer[0]["hourly_units"]["temperature_2m"] = "°F"
    httpserver.expect_request("/api/forecast").respond_with_json(answer)
    with pytest.raises(RefusedError, match=r"is in .*not in °C"):
        pulled(OpenMeteoPuller(use_case, replayed(START), stop, QUICK), START, START + DAY)


def test_an_open_meteo_refusal_raises_refused_error_with_its_reason(
    httpserver: HTTPServer, use_case: UseCase, stop: Stop
) -> None:
    reason = {"error": True, "reason": "Latitude must be in range of -90 to 90"}
    httpserver.expect_request("/api/forecast").respond_with_json(reason, 400)
    with pytest.raises(RefusedError, match="Latitude must be in range"):
        pulled(OpenMeteoPuller(use_case, replayed(START), stop, QUICK), START, START + DAY)


# --- all sources ---


@pytest.mark.parametrize("token", ["ENTSOE", "ESIOS"])
def test_a_missing_token_raises_source_error(
    monkeypatch: pytest.MonkeyPatch, es_load: UseCase, settings: Settings, stop: Stop, token: str
) -> None:
    monkeypatch.delenv(f"DUALCAST_{token}_TOKEN")
    with pytest.raises(SourceError, match=f"DUALCAST_{token}_TOKEN is not set"):
        open_puller(token.lower(), es_load, settings, stop)


def test_an_unknown_query_raises_source_error(es_load: UseCase, settings: Settings, stop: Stop) -> None:
    wrong = es_load.sources["esios"][0].model_copy(update={"query": {"indicador": 1293}})
    changed = es_load.model_copy(update={"sources": {"esios": (wrong,)}})
    with pytest.raises(SourceError, match=r"sources\.esios, load of ES: query: indicator: Field required"):
        open_puller("esios", changed, settings, stop)


def test_a_source_without_series_raises_source_error(es_load: UseCase, settings: Settings, stop: Stop) -> None:
    with pytest.raises(SourceError, match="has no series of 'smard' in its 'sources'; it has: esios"):
        open_puller("smard", es_load, settings, stop)


def test_the_queries_of_every_use_case_are_valid(settings: Settings, stop: Stop) -> None:
    batches = []
    for use_case in load_catalogue(ROOT / "use_cases").values():
        for name in use_case.sources:
            with closing(open_puller(name, use_case, settings, stop)) as puller:
                batches.append((name, len(puller.batches)))
    assert batches == [("smard", 3), ("entsoe", 2), ("open_meteo", 1), ("esios", 2), ("entsoe", 2), ("open_meteo", 1)]
