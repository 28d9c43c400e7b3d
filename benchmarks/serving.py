"""The stack that the services are measured on: a model, and the newest features and a day's curve of each entity."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import numpy as np
import pandas as pd
import yaml

from benchmarks.embedded import embedded
from benchmarks.zones import load_zones, send_history, use_case_folder
from dualcast.adapters.feature_store import OnlineFeatures, apply_definitions, repo_config
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.model_registry import Run
from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase
from dualcast.curves.forecast import Forecast, Point
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.lifecycle.registered_model import model_name
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from dualcast.timegrid import floor, iso_duration, local_date
from dualcast_client import Api
from models.inputs import Layout
from models.prediction.model import ForecastModel
from models.training.fitting import Examples, fit_model
from models.training.publishing import publish_model

_ORIGINS = 6000
_UP_SECONDS = 180.0
_UP = timedelta(seconds=_UP_SECONDS)
_LEVEL = 50_000.0


@dataclass(frozen=True)
class World:
    """Running servers, the use case and model that they serve, and the process ids of the two services."""

    settings: Settings
    use_case: UseCase
    model: ForecastModel
    name: str
    pids: Mapping[str, int]

    @property
    def entity_ids(self) -> list[str]:
        """Whose forecasts are requested."""
        return [entity.id for entity in self.use_case.entities]


@contextmanager
def world(entities: int = 1, history: timedelta = timedelta(0)) -> Iterator[World]:
    """Kafka, registry, Redis, MLflow and both services, ready to serve, for some zones with their history.

    All are stopped and removed afterwards.
    """
    with use_case_folder(entities) as folder, embedded(folder) as stack:
        use_case = load_zones(folder)
        model = trained_model(use_case)
        settings = stack.start("kafka", "registry", "redis", "mlflow")
        create_topics(settings)
        name = model_name(use_case.use_case, "intraday")
        register_model(settings, use_case, model, name)
        apply_definitions(settings, use_case.use_case)
        OnlineFeatures(settings, use_case.use_case).write([_newest_row(use_case, e) for e in use_case.entities])
        publish_curves(settings, use_case)
        if history:
            send_history(settings, use_case, history)
        settings = stack.start("da-svc", "id-svc")
        entity_id = use_case.entities[0].id
        with Api(settings.da_svc, settings.id_svc, patience=_UP) as api:
            api.day_ahead(entity_id)
            api.intraday(entity_id)
        pids = {service: stack.pid(service) for service in ("da-svc", "id-svc")}
        yield World(settings, use_case, model, name, pids)


def trained_model(use_case: UseCase) -> ForecastModel:
    """The use case's intraday forecaster in its real size, trained on made-up rows of its first entity."""
    entities = use_case.entities
    use_case = use_case.model_copy(update={"entities": entities[:1]})
    rng = np.random.default_rng(1)
    part = use_case.part("intraday")
    times = pd.date_range("2023-01-01", periods=_ORIGINS, freq=part.resolution, tz="UTC").as_unit("us")
    columns = {name: list(values) for name, values in _features(use_case, _ORIGINS, rng).items()}
    for name in FeaturePlan.of(use_case, "intraday").per_origin:
        columns[name] = [float(values[0]) for values in columns[name]]
    frame = pd.DataFrame({"entity_id": use_case.entities[0].id, "valid_time": times, **columns})
    frame["actuals"] = list(_LEVEL * rng.normal(1, 0.1, (_ORIGINS, part.horizons)))
    layout = Layout.of(use_case, "intraday")
    examples = Examples.of(layout, use_case, frame, "actuals")
    model = fit_model(use_case, "intraday", layout, examples, os.cpu_count() or 1).model
    return replace(model, entities=entities)


@contextmanager
def process(command: Sequence[str], log: Path, ready: str, **environment: str) -> Iterator[int]:
    """A server, stopped afterwards; its process id as soon as ``ready`` responds. Raises as ``wait_until_ready``.

    It has a session of its own, as those of the stack: Linux divides CPU time by session.
    """
    with log.open("wb") as out:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            wait_until_ready(ready, lambda: log.read_text()[-2000:] if started.poll() is not None else "")
            yield started.pid
        finally:
            started.terminate()
            started.wait(30)


@contextmanager
def peers(found: World) -> Iterator[tuple[Callable[[], None], list[int]]]:
    """``feast serve`` and ``mlflow models serve``: a call that passes the features of one to the other."""
    with TemporaryDirectory(prefix="dualcast-bench-") as folder, ExitStack() as ends:
        repository, ports = Path(folder), [free_port(), free_port()]
        described = repo_config(found.settings, found.use_case.use_case).model_dump(mode="json", by_alias=True)
        kept = ("project", "provider", "registry", "online_store", "offline_store", "entity_key_serialization_version")
        text = yaml.safe_dump({key: described[key] for key in kept})
        (repository / "feature_store.yaml").write_text(text, encoding="utf-8")
        tools = Path(sys.executable).parent
        serve_features = [
            str(tools / "feast"), "--chdir", folder, "serve", "--port", str(ports[0]), "--no-access-log",
            "--max-requests", "1000000",
        ]  # fmt: skip
        serve_model = [
            str(tools / "mlflow"), "models", "serve", "-m", f"models:/{found.name}@champion", "-p", str(ports[1]),
            "--env-manager", "local", "-w", "1",
        ]  # fmt: skip
        answers = [f"http://127.0.0.1:{ports[0]}/health", f"http://127.0.0.1:{ports[1]}/ping"]
        environment = {
            "MLFLOW_TRACKING_URI": found.settings.mlflow,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PATH": f"{tools}:{os.environ['PATH']}",
        }
        pids = [
            ends.enter_context(process(serve_features, repository / "feast.log", answers[0])),
            ends.enter_context(process(serve_model, repository / "mlflow.log", answers[1], **environment)),
        ]
        client = ends.enter_context(httpx2.Client(timeout=30.0, limits=httpx2.Limits(max_connections=64)))
        yield _in_turn(found, client, ports), pids


def wait_until_ready(url: str, last_output: Callable[[], str] = lambda: "") -> None:
    """Wait until a server responds. Raises TimeoutError, or RuntimeError with the last output if it has exited."""
    until = time.monotonic() + _UP_SECONDS
    while time.monotonic() < until:
        try:
            if httpx2.get(url, timeout=5.0).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        if words := last_output():
            raise RuntimeError(f"the server of {url} has exited:\n{words}")
        time.sleep(0.3)
    raise TimeoutError(f"{url} did not respond within {_UP_SECONDS:.0f} s")


def _in_turn(found: World, client: httpx2.Client, ports: Sequence[int]) -> Callable[[], None]:
    names, turns = list(found.model.features), cycle(found.entity_ids)
    wanted = [f"intraday_latest:{name}" for name in [*names, "valid_time"]]

    def call() -> None:
        entity_id = next(turns)
        question = {"features": wanted, "entities": {"entity_id": [entity_id]}}
        answer = client.post(f"http://127.0.0.1:{ports[0]}/get-online-features", json=question).raise_for_status()
        read = answer.json()
        values = {
            name: result["values"][0]
            for name, result in zip(read["metadata"]["feature_names"], read["results"], strict=True)
        }
        origin = datetime.fromtimestamp(values["valid_time"] / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        row = [entity_id, origin, *(values[name] for name in names)]
        split = {"columns": ["entity_id", "valid_time", *names], "data": [row]}
        answer = client.post(f"http://127.0.0.1:{ports[1]}/invocations", json={"dataframe_split": split})
        if answer.is_error:
            raise RuntimeError(f"mlflow models serve: {answer.status_code} {answer.text[-500:]}")
        made = answer.json()["predictions"][0]
        if len(made["q50"]) != found.use_case.part("intraday").horizons:
            raise RuntimeError(f"not a curve: {json.dumps(made)[:200]}")

    return call


def _features(use_case: UseCase, count: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Random features: levels around one, codes of two kinds; (count, 1) or (count, horizons)."""
    plan, horizons = FeaturePlan.of(use_case, "intraday"), use_case.part("intraday").horizons
    out = {}
    for name in plan.names:
        shape = count, horizons if name in plan.per_target else 1
        out[name] = (
            _LEVEL * rng.normal(1, 0.1, shape) if name in plan.levels else rng.integers(0, 2, shape).astype(np.float64)
        )
    return out


def _newest_row(use_case: UseCase, entity: Entity) -> FeatureRow:
    now = datetime.now(UTC)
    features = {name: values[0].tolist() for name, values in _features(use_case, 1, np.random.default_rng(2)).items()}
    origin = floor(now, use_case.part("intraday").resolution)
    return FeatureRow(use_case.use_case, entity.id, origin, now, feature_set(use_case), features)


def register_model(settings: Settings, use_case: UseCase, model: ForecastModel, name: str) -> None:
    """Register a model and make it the champion."""
    row = _newest_row(use_case, use_case.entities[0])
    example = pd.DataFrame(
        {"entity_id": [row.entity_id], "valid_time": [row.valid_time.replace(tzinfo=None)]}
        | {
            n: [row.features[n][0]] if n in FeaturePlan.of(use_case, "intraday").per_origin else [row.features[n]]
            for n in model.features
        }
    )
    run = Run("benchmark", "made up", {}, {}, {}, example, model.predict(example))
    publish_model(settings, name, run, model)


def publish_curves(settings: Settings, use_case: UseCase) -> None:
    """Publish tomorrow's day-ahead curve of each entity."""
    producer = RecordProducer(settings, "benchmark")
    for entity in use_case.entities:
        curve = _day_ahead_curve(use_case, entity)
        producer.send(Topic.FORECASTS_DAY_AHEAD, entity.id, curve, curve.issued_at)
    producer.flush(30.0)
    producer.close()


def _day_ahead_curve(use_case: UseCase, entity: Entity) -> Forecast:
    part = use_case.day_ahead
    day = local_date(datetime.now(UTC), entity.time_zone) + timedelta(days=1)
    issued_at = min(use_case.cutoff(entity, day), datetime.now(UTC))
    points = [Point(t, [_LEVEL * f for f in (0.97123, 1.0, 1.03456)]) for t in use_case.delivery_times(entity, day)]
    return Forecast(
        use_case=use_case.use_case,
        path="day_ahead",
        entity_id=entity.id,
        issued_at=issued_at,
        target=use_case.target,
        unit=use_case.unit,
        resolution=iso_duration(part.resolution),
        model_name=model_name(use_case.use_case, "day-ahead"),
        model_version="1",
        code_version="benchmark",
        data_version="made@1",
        newest_input_at=issued_at,
        degraded=False,
        degraded_reasons=[],
        quantile_levels=[0.1, 0.5, 0.9],
        points=points,
        simulated=True,
    )


def free_port() -> int:
    """A free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
