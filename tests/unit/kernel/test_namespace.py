"""Namespaces: plain names without one, and different names in different namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from dualcast.adapters.feature_store import repo_config
from dualcast.adapters.store.engine import open_store
from dualcast.namespace import Namespace
from dualcast.settings import Settings

NAMESPACES = [Namespace(), Namespace("staging"), Namespace("trial2")]


def names_of(names: Namespace) -> list[str | None]:
    return [
        names.topic("observations.v1"),
        names.group("id-svc"),
        names.model("model_da_de_load"),
        names.experiment("de_load"),
        names.redis_key("LIMITS"),
        names.feast_project("de_load"),
        names.lake("s3://bucket/lake"),
        names.sql_schema,
        names.file("/var/store.db"),
    ]


def test_without_a_namespace_all_names_are_plain() -> None:
    assert names_of(Namespace()) == [
        "observations.v1",
        "id-svc",
        "model_da_de_load",
        "de_load",
        "LIMITS",
        "de_load",
        "s3://bucket/lake",
        None,
        "/var/store.db",
    ]


def test_a_namespace_changes_every_name() -> None:
    for same in zip(*map(names_of, NAMESPACES), strict=True):
        assert len(set(same)) == len(NAMESPACES)


@pytest.mark.parametrize("names", NAMESPACES)
def test_a_topic_is_found_by_its_prefixed_name(names: Namespace) -> None:
    assert names.plain_topic(names.topic("observations.v1")) == "observations.v1"


@pytest.mark.parametrize("name", ["Staging", "a.b", "a_b", "a-b", "1a", "a" * 21, "ä", "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings(namespace=name)


def test_settings_pass_the_namespace_to_lake_store_and_feature_store(tmp_path: Path) -> None:
    plain, staging = Settings(state_dir=tmp_path), Settings(state_dir=tmp_path, namespace="staging")
    assert (plain.lake_uri, staging.lake_uri) == (f"{tmp_path}/lake", f"{tmp_path}/lake/namespaces/staging")
    assert [repo_config(s, "de_load").project for s in (plain, staging)] == ["de_load", "staging__de_load"]
    files = [open_store(s).url.database for s in (plain, staging)]
    assert files == [f"{tmp_path}/store.db", f"{tmp_path}/store-staging.db"]
