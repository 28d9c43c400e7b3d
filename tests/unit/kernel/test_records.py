"""Records match their Avro schemas and are decoded unchanged."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pytest

from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.quantiles import quantile_column
from dualcast.features.rows import FeatureRows
from dualcast.records import DeadLetter, FeatureRow, Observation, ObservationBatch, Topic, schema_text

NOW = datetime(2022, 3, 27, 1, 0, 0, 123456, tzinfo=UTC)

FORECAST = Forecast(
    use_case="de_load", path="day_ahead", entity_id="DE", issued_at=NOW, target="load", unit="MW", resolution="PT1H",
    model_name="model_da_de_load", model_version="3", code_version="abc", data_version="silver@1", newest_input_at=NOW,
    degraded=True, degraded_reasons=["no tso"], quantile_levels=[0.1, 0.5, 0.9],
    points=[Point(NOW + timedelta(hours=h), [1.0, 2.0, 3.0]) for h in range(2)],
)  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        (Topic.OBSERVATIONS, ObservationBatch("DE", [Observation("load", NOW, "PT15M", 1.5, "MW", NOW, "t", True)])),
        (Topic.FORECASTS_DAY_AHEAD, FORECAST),
    ],
)
def test_records_are_unchanged_by_avro(topic: Topic, record: Any) -> None:
    assert type(record).from_record(through_avro(topic, record.to_record())) == record


def test_a_feature_row_is_unchanged_by_avro() -> None:
    row = FeatureRow("de_load", "DE", NOW, NOW, "f", {"a": [1.0], "b": [1.0, 2.0]})
    decoded = through_avro(Topic.FEATURES_INTRADAY, row.to_record())
    assert FeatureRows.from_record(decoded).one_by_one() == [row]


def through_avro(topic: Topic, record: dict[str, Any]) -> dict[str, Any]:
    schema = fastavro.parse_schema(json.loads(schema_text(topic)))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, record)
    buffer.seek(0)
    decoded = fastavro.schemaless_reader(buffer, schema, None)
    assert isinstance(decoded, dict)
    return decoded


def test_a_dead_letter_keeps_the_message() -> None:
    letter = DeadLetter("not_avro", "why", "flink", "observations.v1", 1, 2, NOW, b"DE", b"\x00junk")
    schema = fastavro.parse_schema(json.loads(schema_text(Topic.DEAD_LETTERS)))
    fastavro.schemaless_writer(io.BytesIO(), schema, letter.to_record())
    assert letter.value == b"\x00junk"


def test_a_forecast_of_a_newer_schema_is_read_without_the_fields_that_it_adds() -> None:
    assert Forecast.from_record(FORECAST.to_record() | {"added": 1}) == FORECAST


@pytest.mark.parametrize(
    ("level", "column"), [(0.1, "q10"), (0.05, "q05"), (0.5, "q50"), (0.975, "q975"), (0.025, "q025")]
)
def test_quantile_levels_have_column_names(level: float, column: str) -> None:
    assert quantile_column(level) == column
