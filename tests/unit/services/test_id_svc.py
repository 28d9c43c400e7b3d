"""id-svc as a client sees it, with every fallback: the model that is used and the reported reasons."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from dualcast.timegrid import parse_moment
from services.id_svc.scoring.model_cache import ModelCache
from tests import services_world as world
from tests.unit.services.fake_id_svc import FakeIdService, FakeModel, fake_id_service, filled_id_service, prove, row_at

INTRADAY = "/api/v1/forecasts/intraday/DE"


@pytest.fixture
def id_service() -> FakeIdService:
    return filled_id_service()


def test_the_champion_predicts_from_the_newest_features(id_service: FakeIdService) -> None:
    body = id_service.ask()
    assert (body["model"]["version"], body["fallback"], body["degraded"]) == ("2", None, False)
    assert body["issued_at"] == "2022-05-03T12:05:00Z"
    assert body["points"][0]["valid_time"] == "2022-05-03T12:15:00Z"
    assert body["input_age_seconds"] == 300


def test_a_curve_is_marked_as_simulated_if_the_observations_are(id_service: FakeIdService) -> None:
    assert id_service.ask()["simulated"] is True


def test_the_previous_version_is_used_if_the_champion_fails(id_service: FakeIdService) -> None:
    id_service.models.held["champion"].works = False
    body = id_service.ask()
    assert (body["model"]["version"], body["fallback"], body["degraded"]) == ("1", "previous_version", True)
    assert body["degraded_reasons"] == ["fallback: previous_version", "the champion model 2 failed"]


def test_without_the_feature_store_the_shifted_day_ahead_curve_is_used(id_service: FakeIdService) -> None:
    id_service.features.unavailable = True
    body = id_service.ask()
    assert (body["fallback"], body["model"]["name"]) == ("shifted_day_ahead", "model_da_de_load")
    assert "the feature store is unavailable" in body["degraded_reasons"]
    assert body["resolution"] == "PT15M"
    assert len(body["points"]) == 24
    # the day-ahead curve is 1% high; shifted by its recent error it equals the true load where that changes slowly
    first = body["points"][0]
    truth = world.true_load(datetime.fromisoformat(first["valid_time"]))
    assert first["quantiles"]["0.5"] == pytest.approx(truth, rel=0.005)
    assert first["quantiles"]["0.1"] < first["quantiles"]["0.5"] < first["quantiles"]["0.9"]


def test_a_shifted_curve_ends_with_the_day_ahead_curves(id_service: FakeIdService) -> None:
    lone = fake_id_service(world.catalogue())
    lone.features.unavailable = True
    lone.curves.add(world.day_ahead(date(2022, 5, 3)))
    lone.forecaster._clock = world.frozen(datetime.fromisoformat("2022-05-03T20:00:00Z"))
    assert [p["valid_time"] for p in lone.ask()["points"]][-1] == "2022-05-03T21:45:00Z"


def test_without_day_ahead_curves_the_last_stored_curve_is_used() -> None:
    lone = fake_id_service(world.catalogue())
    lone.features.row = None
    lone.curves.add(world.intraday(world.NOW - timedelta(hours=2)))
    body = lone.ask()
    assert (body["fallback"], body["issued_at"]) == ("last_stored", "2022-05-03T10:00:00Z")
    assert body["points"][0]["valid_time"] == "2022-05-03T12:00:00Z"
    assert len(body["points"]) == 16


def test_without_any_fallback_the_status_is_503_with_the_reasons() -> None:
    lone = fake_id_service(world.catalogue())
    lone.features.row = None
    lone.curves.add(world.intraday(world.NOW - timedelta(hours=9)))
    answer = lone.client.get(INTRADAY)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "there are no features yet" in answer.json()["detail"]
    assert "no stored curve reaches" in answer.json()["detail"]


def test_features_that_are_too_old_for_any_interval_are_not_used(id_service: FakeIdService) -> None:
    id_service.features.row = row_at(world.NOW - timedelta(hours=7))
    assert id_service.ask()["fallback"] == "shifted_day_ahead"


def test_only_the_fallbacks_of_the_catalogue_are_used(id_service: FakeIdService) -> None:
    use_case = world.catalogue()["de_load"]
    strict = use_case.model_copy(update={"intraday": use_case.part("intraday").model_copy(update={"fallbacks": ()})})
    lone = fake_id_service({"de_load": strict})
    lone.curves.add(world.day_ahead(date(2022, 5, 3)))
    lone.features.unavailable = True
    assert lone.client.get(INTRADAY).status_code == 503


def test_a_new_champion_is_loaded_and_a_broken_one_is_refused(id_service: FakeIdService) -> None:
    id_service.model_cache.refresh()
    assert id_service.models.loads == 2
    id_service.models.held["champion"] = FakeModel("model_id_de_load", "3")
    id_service.model_cache.refresh()
    assert id_service.ask()["model"]["version"] == "3"
    id_service.models.held["champion"], id_service.models.broken = FakeModel("model_id_de_load", "4"), {"4"}
    id_service.model_cache.refresh()
    assert id_service.ask()["model"]["version"] == "3"


def test_loaded_models_are_used_while_the_registry_is_unavailable(id_service: FakeIdService) -> None:
    id_service.models.unavailable = True
    with pytest.raises(ConnectionError):
        id_service.model_cache.refresh()
    assert id_service.ask()["model"]["version"] == "2"


def test_a_service_started_without_the_registry_uses_the_last_loaded_models(id_service: FakeIdService) -> None:
    names = ("champion", "previous", "challenger")
    id_service.models.on_disk = {
        name: FakeModel("model_id_de_load", str(i), works=i > 7) for i, name in enumerate(names, 7)
    }
    id_service.models.unavailable = True
    fresh = ModelCache(id_service.models, world.catalogue(), prove)
    fresh.take_last()
    id_service.forecaster._model_cache = fresh
    body = id_service.ask()
    assert (body["model"]["version"], body["fallback"]) == ("8", "previous_version")
    id_service.models.unavailable = False
    fresh.refresh()
    assert (id_service.ask()["model"]["version"], id_service.ask()["fallback"]) == ("2", None)


def test_status_and_health_report_the_loaded_models(id_service: FakeIdService) -> None:
    id_service.curves.add(world.intraday(world.NOW))
    status = id_service.client.get("/api/v1/status").json()
    assert [(m["alias"], m["version"]) for m in status["models"]] == [("champion", "2"), ("previous", "1")]
    assert status["entities"][0]["published_until"] == "2022-05-03T12:00:00Z"
    assert id_service.client.get("/health/ready").json()["ready"] is True


@pytest.mark.parametrize(
    ("now", "status"),
    [
        ("2022-05-02T21:50Z", 200),  # the curve is issued, and the next interval is its first
        ("2022-05-02T21:40Z", 503),
        ("2022-05-03T12:05Z", 200),
        ("2022-05-03T21:40Z", 200),  # in the last hour of the curve
        ("2022-05-03T21:50Z", 503),
    ],
)
def test_without_a_model_the_service_is_ready_if_a_day_ahead_curve_can_be_shifted(now: str, status: int) -> None:
    lone = fake_id_service(world.catalogue(), world.frozen(parse_moment(now)))
    lone.app.state.deps.model_cache = lone.forecaster._model_cache = ModelCache(lone.models, world.catalogue(), prove)
    lone.curves.add(world.day_ahead(date(2022, 5, 3)))
    assert lone.client.get("/health/ready").status_code == lone.client.get(INTRADAY).status_code == status


def test_unknown_entities_and_csv_are_handled_as_by_da_svc(id_service: FakeIdService) -> None:
    assert (
        id_service.client.get("/api/v1/forecasts/intraday/XX").json()["type"] == "urn:dualcast:problem:unknown-entity"
    )
    lines = id_service.client.get(INTRADAY, params={"format": "csv"}).text.splitlines()
    assert lines[0] == "entity_id,issued_at,valid_time,q10,q50,q90,model_version,degraded_reasons,simulated"
    assert len(lines) == 1 + 23
