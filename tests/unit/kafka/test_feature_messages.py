"""Messages of feature rows, written as arrays: the Avro library and the array decoder read the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.adapters.kafka.wire.feature_messages import FeatureMessages, read_feature_rows
from dualcast.features.intraday.state import Rows
from dualcast.features.rows import FeatureRows
from dualcast.records import Topic
from dualcast.settings import Settings
from tests.registry import MemoryRegistry

STEP, HORIZONS = 900, 24
ORIGIN = 1_900_000
WIDTHS = {"level": 1, "rise": HORIZONS, "holiday": HORIZONS}


@pytest.fixture
def encoder(registry: MemoryRegistry) -> Encoder:
    return Encoder(Settings(), Topic.FEATURES_INTRADAY)


def rows_of(count: int) -> Rows:
    """Rows in which ``rise`` differs by row and target, ``holiday`` only by slot, and one value is unknown."""
    origin = ORIGIN + np.arange(count)
    level = np.arange(float(count))[:, np.newaxis]
    level[0] = np.nan
    rise = np.random.default_rng(3).normal(size=(count, HORIZONS))
    holiday = sliding_window_view(np.arange(count + HORIZONS - 1.0), HORIZONS)
    return Rows(origin, origin * STEP * 1_000_000 + 7, {"level": level, "rise": rise, "holiday": holiday})


@pytest.mark.parametrize("count", [1, 2, 23, 24, 25, 64, 3000])
def test_rows_are_decoded_unchanged(encoder: Encoder, count: int) -> None:
    rows = rows_of(count)
    messages = list(FeatureMessages(encoder, "de_load", "DE", "abc", WIDTHS).of(rows, STEP))
    decoder = Decoder(Settings(), Topic.FEATURES_INTRADAY)
    library = [FeatureRows.from_record(decoder.record(message)) for message in messages]
    for found in (library, [decoder.feature_rows(message) for message in messages]):
        assert_rows(found, rows)
    if count > 1:  # read as arrays, not by the library
        assert [len(read_feature_rows(message, 5)) for message in messages] == [len(found) for found in library]


def assert_rows(found: list[FeatureRows], rows: Rows) -> None:
    assert {(f.use_case, f.entity_id, f.feature_set) for f in found} == {("de_load", "DE", "abc")}
    np.testing.assert_array_equal(np.concatenate([f.valid_time for f in found]), rows.origin * STEP * 1_000_000)
    np.testing.assert_array_equal(np.concatenate([f.as_of for f in found]), rows.as_of)
    for name, values in rows.features.items():
        np.testing.assert_array_equal(np.concatenate([f.features[name] for f in found]), values, err_msg=name)


def test_shared_values_are_written_once_and_messages_stay_within_the_size_limit(encoder: Encoder) -> None:
    writer = FeatureMessages(encoder, "de_load", "DE", "abc", WIDTHS)
    messages = list(writer.of(rows_of(9000), STEP))
    assert len(messages) > 1
    assert max(map(len, messages)) < 1.01 * 3 * 2**19
    each = sum(map(len, messages)) / 9000
    assert each < 8 * (2 + 1 + HORIZONS + 1.2)  # times, level, rise, and holiday, which is stored once


def test_no_rows_give_no_message(encoder: Encoder) -> None:
    assert list(FeatureMessages(encoder, "de_load", "DE", "abc", WIDTHS).of(rows_of(1)[:0], STEP)) == []
