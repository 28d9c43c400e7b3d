"""Registered models in Spark workers."""

from __future__ import annotations

from functools import cache

from dualcast.adapters.model_registry import load
from dualcast.lifecycle.registered_model import CHAMPION, Alias, RegisteredModel
from dualcast.settings import Settings


class StaleModelError(RuntimeError):
    """An alias was moved to another version during a run. The run must be started again."""


@cache
def registered(settings: Settings, name: str, version: str, alias: Alias = CHAMPION) -> RegisteredModel:
    """The model of an alias, loaded once in each worker. Raises StaleModelError where it is another version now."""
    model = load(settings, name, alias)
    if model.version != version:
        raise StaleModelError(f"{name}: the {alias} is version {model.version} now, not {version}; run again")
    return model
