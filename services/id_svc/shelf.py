"""The models in memory: champion and previous version of each use case, exchanged when their alias moves."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import structlog

from dualcast.catalogue import UseCase
from services.id_svc.ports import Model, Models, ServingAlias
from services.shared.memory.feeds import Worker
from services.shared.schemas import LoadedModel

CHAMPION: ServingAlias = "champion"
PREVIOUS: ServingAlias = "previous"
_POLL_SECONDS = 10.0
_log = structlog.get_logger(__name__)


class ModelShelf:
    """Holds what serves now. A version that cannot be loaded leaves the one before it in place."""

    def __init__(self, models: Models, catalogue: Mapping[str, UseCase]) -> None:
        self._models = models
        self._catalogue = catalogue
        self._held: dict[tuple[str, str], Model] = {}
        self._worker = Worker("models", self._poll)
        self.polled = threading.Event()

    def start(self) -> None:
        """Begin to follow the registry."""
        self._worker.start()

    def stop(self) -> None:
        """Stop following it."""
        self._worker.stop()

    def get(self, use_case: str, alias: str) -> Model | None:
        """The model that serves under an alias."""
        return self._held.get((use_case, alias))

    def loaded(self) -> list[LoadedModel]:
        """What is in memory."""
        return [
            LoadedModel(use_case=use_case, alias=alias, name=model.name, version=model.version)
            for (use_case, alias), model in sorted(self._held.items())
        ]

    def refresh(self) -> None:
        """Look once at every alias. Raises OSError where the registry is away."""
        for use_case in self._catalogue:
            for alias in (CHAMPION, PREVIOUS):
                self._refresh(use_case, alias)
        self.polled.set()

    def _refresh(self, use_case: str, alias: ServingAlias) -> None:
        name = f"model_id_{use_case}"
        wanted, held = self._models.version(name, alias), self.get(use_case, alias)
        if wanted is None or (held is not None and held.version == wanted):
            return
        try:
            self._held[use_case, alias] = self._models.load(name, alias)
        except Exception as error:  # noqa: BLE001 - a broken version must not take the one that serves away
            _log.warning("model not loaded", name=name, alias=alias, version=wanted, error=repr(error)[:200])
        else:
            _log.info("model loaded", name=name, alias=alias, version=wanted)

    def _poll(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.refresh()
            except OSError as error:
                _log.warning("model registry away", error=str(error)[:200])
            # until the first look has succeeded nothing can be served: look again soon
            stop.wait(_POLL_SECONDS if self.polled.is_set() else 1.0)
