"""The models in memory: each use case's champion, previous version and challenger, replaced when an alias moves."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import structlog

from dualcast.catalogue import UseCase
from dualcast.lifecycle.registered_model import ALIASES, Alias, model_name
from services.api.schemas.status import LoadedModel, RefusedModel
from services.background import Worker
from services.id_svc.ports import Model, Models, Prove

_POLL_SECONDS = 2.0
_log = structlog.get_logger(__name__)


class ModelCache:
    """Holds the models that serve.

    A new version replaces the old one after it was loaded and has made a trial prediction; requests that are being
    answered keep the old one. A version that fails is refused, and the one before it stays; it is not tried again until
    the alias moves.
    """

    def __init__(self, models: Models, catalogue: Mapping[str, UseCase], prove: Prove) -> None:
        self._models = models
        self._catalogue = catalogue
        self._prove = prove
        self._held: dict[tuple[str, str], Model] = {}
        self._refused: dict[tuple[str, str], RefusedModel] = {}
        self._worker = Worker("models", self._poll)
        self.polled = threading.Event()

    def start(self) -> None:
        """Start polling the registry."""
        self._worker.start()

    def stop(self) -> None:
        """Stop polling."""
        self._worker.stop()

    def get(self, use_case: str, name: str) -> Model | None:
        """The model in memory with an alias or a version."""
        found = self._held.get((use_case, name))
        if found is not None:
            return found
        return next((m for (u, _), m in list(self._held.items()) if u == use_case and m.version == name), None)

    def loaded(self) -> list[LoadedModel]:
        """The models in memory."""
        return [
            LoadedModel(use_case=use_case, alias=alias, name=model.name, version=model.version)
            for (use_case, alias), model in sorted(self._held.items())
        ]

    def refused(self) -> list[RefusedModel]:
        """The versions of aliases that cannot serve."""
        return [refused for _, refused in sorted(self._refused.items())]

    def refresh(self) -> None:
        """Check every alias once. Raises ConnectionError if the registry is unavailable."""
        for use_case in self._catalogue.values():
            for alias in ALIASES:
                self._refresh(use_case, alias)
        self.polled.set()

    def _refresh(self, use_case: UseCase, alias: Alias) -> None:
        name, key = model_name(use_case.use_case, "intraday"), (use_case.use_case, alias)
        wanted, held, refused = self._models.version(name, alias), self._held.get(key), self._refused.get(key)
        if wanted is None or (held is not None and held.version == wanted):
            self._refused.pop(key, None)
            return
        if refused is not None and refused.version == wanted:
            return
        try:
            model = self._models.load(name, alias)
            self._prove(model, use_case)
        except ConnectionError:
            raise  # the registry is unavailable: the model is not refused
        except Exception as error:  # noqa: BLE001 - a broken version must not replace the one that serves
            _log.warning("model refused", name=name, alias=alias, version=wanted, error=repr(error)[:200])
            self._refused[key] = RefusedModel(
                use_case=use_case.use_case, alias=alias, name=name, version=wanted, reason=repr(error)[:200]
            )
        else:
            self._held[key] = model
            self._refused.pop(key, None)
            _log.info("model loaded", name=name, alias=alias, version=model.version)

    def take_last(self) -> None:
        """Load the models that this machine loaded last, to serve while the registry is unavailable at the start."""
        for use_case in self._catalogue.values():
            for alias in ALIASES:
                name = model_name(use_case.use_case, "intraday")
                try:
                    model = self._models.last(name, alias)
                    self._prove(model, use_case)
                except Exception as error:  # noqa: BLE001 - there is none, or it was refused before
                    _log.debug("no last model", name=name, alias=alias, error=repr(error)[:200])
                else:
                    self._held[use_case.use_case, alias] = model
                    _log.info("last model loaded", name=name, alias=alias, version=model.version)
        if self._held:
            self.polled.set()

    def _poll(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.refresh()
            except ConnectionError as error:
                _log.debug("model registry unavailable", error=str(error)[:200])
                if not self.polled.is_set():
                    self.take_last()
            # no model can serve before the first poll has succeeded: retry soon
            stop.wait(_POLL_SECONDS if self.polled.is_set() else 1.0)
