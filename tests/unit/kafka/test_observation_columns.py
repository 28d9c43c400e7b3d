"""Long messages are sliced as arrays: the columns equal those of the Avro library, or the library decodes them."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualcast.adapters.kafka.wire.avro_arrays import OtherLayoutError
from dualcast.adapters.kafka.wire.observation_columns import ObservationRows
from dualcast.records import Topic, schema_text

SCHEMA = fastavro.parse_schema(json.loads(schema_text(Topic.OBSERVATIONS)))
TIME = 1_700_000_000_000_000


def encoded(records: list[dict[str, Any]], entity_id: str = "DE") -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, {"entity_id": entity_id, "observations": records})
    return b"head " + stream.getvalue()


def observation(variable: str, i: int, **changes: Any) -> dict[str, Any]:
    times = {"valid_time": TIME + i * 900_000_000, "published_at": TIME + i * 1_000_003}
    rest = {"resolution": "PT15M", "value": i * 1.1, "unit": "MW", "source": "meter", "simulated": i % 2 == 0}
    return {"variable": variable} | times | rest | changes


def assert_read(records: list[dict[str, Any]]) -> None:
    rows = ObservationRows.read(encoded(records, "Köln"), 5)
    columns = rows.columns
    assert rows.entity_id == "Köln"
    for name in ("variable", "valid_time", "resolution", "value", "unit", "published_at"):
        np.testing.assert_array_equal(getattr(columns, name), [r[name] for r in records], err_msg=name)
    np.testing.assert_array_equal(rows.sources, [r["source"] for r in records])
    np.testing.assert_array_equal(rows.simulated, [r["simulated"] for r in records])
    for i in {0, len(records) // 2, len(records) - 1}:
        # an array of one: its length, the observation, its end
        assert encoded([records[i]], "Köln") == encoded([], "Köln")[:-1] + b"\2" + rows.encoded(i) + b"\0"


@given(
    runs=st.lists(
        st.tuples(st.sampled_from(["load", "temperature_2m", "€"]), st.integers(10, 300)), min_size=1, max_size=6
    ),
    value=st.floats(width=64),
)
def test_runs_of_observations_are_decoded_unchanged(runs: list[tuple[str, int]], value: float) -> None:
    records = [observation(variable, i, value=value + i) for variable, length in runs for i in range(length)]
    assert_read(records)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[:-2],
        lambda data: data + b"\0",
        lambda data: data[:60],
        lambda data: data[:5],
        lambda data: data[:5] + b"\xff" * 40,
        lambda data: data.replace(b"PT15M", b"\xff\xfe15M", 1),
    ],
)
def test_a_damaged_message_is_left_to_the_avro_library(spoil: Any) -> None:
    with pytest.raises(OtherLayoutError):
        ObservationRows.read(spoil(encoded([observation("load", i) for i in range(50)])), 5)


@pytest.mark.parametrize(
    "records",
    [
        [observation(f"v{i % 20}", i) for i in range(100)],  # few of each
        [observation(f"v{i % 70}", i) for i in range(1000)],  # many variables
        [observation("load", i, source="x" * 80) for i in range(50)],
        [observation("load", i, valid_time=i) for i in range(50)],  # 1970
    ],
)
def test_a_message_with_another_layout_is_left_to_the_avro_library(records: list[dict[str, Any]]) -> None:
    with pytest.raises(OtherLayoutError):
        ObservationRows.read(encoded(records), 5)


def test_alternating_variables_are_decoded_unchanged() -> None:
    assert_read([observation("load" if i % 3 else f"temperature_{i % 2}m", i) for i in range(300)])


def test_a_text_that_contains_an_encoded_observation_is_left_to_the_avro_library() -> None:
    inner = encoded([observation("load", 1, source="", unit="")])[9:-1]
    first = [observation("load", i, source="", unit="") for i in range(20)]
    assert len(inner) < 64
    data = encoded([*first, *(observation("wind", i, source="#" * len(inner)) for i in range(20))])
    spoilt = data.replace(b"#" * len(inner), inner, 1)
    with pytest.raises(OtherLayoutError):
        ObservationRows.read(spoilt, 5)


def test_a_single_observation_with_another_layout_is_decoded() -> None:
    records = [observation("load", i) for i in range(100)]
    records[60] = observation("load", 60, source="another meter")
    assert_read(records)
