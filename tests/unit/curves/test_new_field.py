"""A new field of a curve needs one line, one schema version and one migration. Tested in a copy of the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

LINE = '    weather_run: str = field(default="unknown", metadata=described("weather model run", length=64))\n'
AVRO = '    {"name": "weather_run", "type": "string", "default": "unknown"},\n'
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("forecasts", sa.Column("weather_run", sa.String(64), nullable=False, server_default="unknown"))
"""

# The forms of a curve with the field in the copy, and of a record that was written before the field was added.
PROGRAM = """
import io, json, sys
from datetime import UTC, datetime
import fastavro
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import make_url

from dualcast.adapters.store.engine import open_url
from dualcast.adapters.store.forecasts import Span, save, read_curves
from dualcast.adapters.store.migrate import migrate
from dualcast.adapters.store.tables import Base
from dualcast.curves.arrow import decoded_curve, encoded_curves, row_table
from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.frames import forecast_frame
from dualcast.records import Topic, schema_text
from services.api.encoding import columns_of, forecast_body
from services.api.schemas.curves import DayAheadForecast

now = datetime(2022, 5, 2, 9, tzinfo=UTC)
old = dict(
    use_case="de_load", path="day_ahead", entity_id="DE", issued_at=now, target="load", unit="MW", resolution="PT1H",
    model_name="m", model_version="1", code_version="c", data_version="d", newest_input_at=now, degraded=False,
    degraded_reasons=[], simulated=False, quantile_levels=[0.5], points=[{"valid_time": now, "values": [1.0]}],
)
curve = Forecast.from_record(old | {"weather_run": "icon 06"})

schema, message = fastavro.parse_schema(json.loads(schema_text(Topic.FORECASTS_DAY_AHEAD))), io.BytesIO()
fastavro.schemaless_writer(message, schema, curve.to_record())
message.seek(0)

encoded = encoded_curves([curve])
engine = open_url(make_url("sqlite:///" + sys.argv[1]))
migrate(engine)
with engine.connect() as connection:
    differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
save(engine, [curve], now)

print(json.dumps({
    "old record": Forecast.from_record(old).weather_run,
    "Avro": Forecast.from_record(fastavro.schemaless_reader(message, schema, None)).weather_run,
    "frame": forecast_frame([curve])["weather_run"].tolist(),
    "Arrow": decoded_curve(encoded["curve"][0].as_py()).weather_run,
    "lake": row_table(encoded, [0.5])["weather_run"].to_pylist(),
    "JSON": json.loads(forecast_body(curve))["weather_run"],
    "API rows": columns_of([curve])["weather_run"],
    "OpenAPI": DayAheadForecast.model_json_schema()["properties"]["weather_run"]["description"],
    "SQL": [found.weather_run for found in read_curves(engine, Span("de_load", "day-ahead"))],
    "tables that the migration leaves different": len(differences),
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the kernel and the services with one more field."""
    for package in ("dualcast", "services"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("page"))
    insert(tmp_path / "dualcast/curves/forecast.py", LINE, before="    simulated: bool")
    insert(tmp_path / "dualcast/schemas/forecasts.avsc", AVRO, before='    {"name": "simulated"')
    (tmp_path / "dualcast/adapters/store/migrations/versions/v0002_weather_run.py").write_text(MIGRATION)
    return tmp_path


def insert(file: Path, line: str, before: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, line + before), encoding="utf-8")


def test_a_new_field_appears_in_every_form(copy: Path) -> None:
    found = run(copy, PROGRAM)
    assert found == {
        "old record": "unknown",
        "Avro": "icon 06",
        "frame": ["icon 06"],
        "Arrow": "icon 06",
        "lake": ["icon 06"],
        "JSON": "icon 06",
        "API rows": ["icon 06"],
        "OpenAPI": "weather model run",
        "SQL": ["icon 06"],
        "tables that the migration leaves different": 0,
    }


def run(copy: Path, program: str) -> Any:
    script = copy / "program.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, copy / "store.db"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
