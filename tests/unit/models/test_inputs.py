"""Training and serving use the same inputs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity, UseCase
from dualcast.records import FeatureRow
from models.inputs import Assembler, FeatureMismatchError, Layout


@pytest.fixture(scope="module")
def layout(use_case: UseCase) -> Layout:
    return Layout.of(use_case, "intraday")


def test_training_and_serving_build_identical_matrices(
    use_case: UseCase,
    layout: Layout,
    stream_rows: list[FeatureRow],
    intraday_frame: pd.DataFrame,
) -> None:
    whole = Assembler(layout, use_case.entities).from_frame(intraday_frame)
    serving = Assembler(layout, use_case.entities)
    for position, row in list(enumerate(stream_rows[800::3]))[::97]:
        one = serving.from_row(row)
        np.testing.assert_array_equal(one.values[0], whole.values[position])
        np.testing.assert_array_equal(one.clock[0], whole.clock[position])
        assert one.scale[0] == whole.scale[position]
        assert one.entity[0] == whole.entity[position]


def test_only_levels_are_divided_by_the_scale(use_case: UseCase, layout: Layout, stream_rows: list[FeatureRow]) -> None:
    row = stream_rows[2000]
    values = Assembler(layout, use_case.entities).from_row(row).values[0, 0]
    scale = row.features[str(layout.scale)][0]
    assert values[layout.column["load_newest"]] == pytest.approx(row.features["load_newest"][0] / scale)
    assert values[layout.column["local_hour"]] == pytest.approx(row.features["local_hour"][0])


def test_the_clock_is_local_over_a_clock_change(use_case: UseCase, entity: Entity) -> None:
    layout = Layout.of(use_case, "day-ahead")
    times = pd.date_range("2022-03-26T23:00Z", periods=4, freq="h")
    frame = pd.DataFrame({"entity_id": entity.id, "valid_time": times} | dict.fromkeys(layout.features, 1.0))
    clock = Assembler(layout, [entity]).from_frame(frame).clock[:, 0]
    assert clock.tolist() == [0, 1, 3, 4]


def test_a_row_without_a_feature_is_refused_by_name(
    use_case: UseCase, layout: Layout, stream_rows: list[FeatureRow]
) -> None:
    features = {n: v for n, v in stream_rows[0].features.items() if n != "load_newest"}
    with pytest.raises(FeatureMismatchError, match="load_newest"):
        Assembler(layout, use_case.entities).from_row(replace(stream_rows[0], features=features))


def test_a_level_of_zero_or_less_cannot_be_a_scale(
    use_case: UseCase, layout: Layout, stream_rows: list[FeatureRow]
) -> None:
    features = stream_rows[2000].features | {str(layout.scale): [0.0]}
    inputs = Assembler(layout, use_case.entities).from_row(replace(stream_rows[2000], features=features))
    assert np.isnan(inputs.scale[0])


def test_an_entity_younger_than_the_model_can_be_entered(
    use_case: UseCase, entity: Entity, layout: Layout, stream_rows: list[FeatureRow]
) -> None:
    newcomer = entity.model_copy(update={"id": "new"})
    assembler = Assembler(layout, use_case.entities)
    row = replace(stream_rows[2000], entity_id="new", valid_time=stream_rows[2000].valid_time + timedelta(hours=1))
    with pytest.raises(KeyError):
        assembler.from_row(row)
    assembler.add_entity(newcomer)
    assert assembler.from_row(row).entity.tolist() == [-1]
