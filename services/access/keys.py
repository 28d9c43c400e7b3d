"""API keys in memory: read from the store every few seconds, so that no request waits for it."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable

import structlog

from dualcast.adapters.store.engine import Engine
from dualcast.adapters.store.keys import StoredKey, digest, id_of, list_keys
from dualcast.timegrid import Clock
from services.access.identity import Identity
from services.background import Worker
from services.circuits import Circuits
from services.http.problems import ProblemError

# How long a key that was made is not known yet, and one that was revoked still is.
_REFRESH_SECONDS = 3.0
_LONGEST = 256
_log = structlog.get_logger(__name__)


def unauthenticated(detail: str) -> ProblemError:
    """The problem of a caller who is not known."""
    challenge = {"WWW-Authenticate": 'Bearer realm="dualcast", X-API-Key'}
    return ProblemError(401, "unauthenticated", detail, challenge)


class KeyRing:
    """The store's keys. While the store is away, those that were read last count; before that, nobody's key does."""

    def __init__(self, engine: Engine, clock: Clock, circuits: Circuits, make_ready: Callable[[], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._circuits = circuits
        self._make_ready = make_ready
        self._known = False
        self._keys: dict[str, StoredKey] = {}
        self._worker = Worker("api keys", self._follow)

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever made; one that was revoked counts, for a service must not open up again."""
        return self._known and not self._keys

    def start(self) -> None:
        """Begin to follow the store."""
        self._worker.start()

    def stop(self) -> None:
        """Stop following."""
        self._worker.stop()

    def read(self) -> None:
        """Read the keys. Raises StoreUnavailableError, OpenCircuitError, and at the first read UnmigratedStoreError."""
        with self._circuits.calling("store"):
            if not self._known:
                self._make_ready()
            self._keys = {key.id: key for key in list_keys(self._engine)}
            self._known = True

    def identity(self, key: str) -> Identity:
        """Whose key this is. Raises ProblemError 401; takes as long for a wrong secret as for a right one.

        Raises 503 where the store has been away since the start.
        """
        if not self._known:
            raise ProblemError(503, "keys-away", "keys are in the store, which does not answer", {"Retry-After": "5"})
        known = self._keys.get(id_of(key) or "") if len(key) <= _LONGEST else None
        matches = hmac.compare_digest(known.digest if known else digest(""), digest(key[:_LONGEST]))
        if known is None or not matches or not known.is_live(self._clock.now()):
            raise unauthenticated("this key is not known, or has ended")
        return Identity.of(f"key:{known.id}/{known.name}", known.role, known.access)

    def _follow(self, stop: threading.Event) -> None:
        while not stop.wait(_REFRESH_SECONDS):
            try:
                self.read()
            except ConnectionError as error:
                _log.debug("keys not read", error=str(error)[:300])
