"""API keys in memory: read from the store every few seconds, so that no request waits for it."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from dualcast.adapters.store.engine import Engine
from dualcast.adapters.store.keys import StoredKey, digest, id_of, list_keys
from dualcast.timegrid import Clock
from services.access.identity import Identity
from services.background import Worker
from services.circuits import Circuits
from services.http.problems import ProblemError

# A new key is accepted, and a revoked key refused, after this time at most.
_REFRESH_SECONDS = 3.0
_LONGEST = 256
_log = structlog.get_logger(__name__)


def unauthenticated(detail: str) -> ProblemError:
    """The problem for a caller who could not be identified."""
    challenge = {"WWW-Authenticate": 'Bearer realm="dualcast", X-API-Key'}
    return ProblemError(401, "unauthenticated", detail, challenge)


class KeyRing:
    """The keys of the store. While it is unavailable, the last keys read are valid; before the first read, none are.

    ``memory`` is a file outside the store that records that there have been keys.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        circuits: Circuits,
        make_ready: Callable[[], None],
        memory: Path | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._circuits = circuits
        self._make_ready = make_ready
        self._memory = memory
        self._known = self._had_keys = False
        self._keys: dict[str, StoredKey] = {}
        self._worker = Worker("api keys", self._follow)

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever created: revoking the last key, or losing the store, must not open the service."""
        return self._known and not self._keys and not self._had_keys

    def start(self) -> None:
        """Start to read the store regularly."""
        self._worker.start()

    def stop(self) -> None:
        """Stop reading the store."""
        self._worker.stop()

    def read(self) -> None:
        """Read the keys. Raises StoreUnavailableError, OpenCircuitError, and at the first read UnmigratedStoreError."""
        with self._circuits.calling("store"):
            if not self._known:
                self._make_ready()
            self._keys = {key.id: key for key in list_keys(self._engine)}
            self._remember()
            self._known = True

    def _remember(self) -> None:
        if self._memory is None:
            return
        self._had_keys = self._memory.exists()
        if self._keys and not self._had_keys:
            with suppress(OSError):
                self._memory.touch(mode=0o600)
        elif self._had_keys and not self._keys and not self._known:
            _log.error("the store has lost its keys: nobody is let in until a key is created", file=str(self._memory))

    def identity(self, key: str) -> Identity:
        """The caller of a key. Takes the same time for a wrong secret as for a right one.

        Raises ProblemError 401, or 503 if the store has been unavailable since the start.
        """
        if not self._known:
            raise ProblemError(
                503, "keys-unavailable", "the store that holds the keys does not respond", {"Retry-After": "5"}
            )
        known = self._keys.get(id_of(key) or "") if len(key) <= _LONGEST else None
        matches = hmac.compare_digest(known.digest if known else digest(""), digest(key[:_LONGEST]))
        if known is None or not matches or not known.is_live(self._clock.now()):
            raise unauthenticated("the key is unknown, revoked or expired")
        return Identity.of(f"key:{known.id}/{known.name}", known.role, known.access)

    def _follow(self, stop: threading.Event) -> None:
        while not stop.wait(_REFRESH_SECONDS):
            try:
                self.read()
            except ConnectionError as error:
                _log.debug("keys not read", error=str(error)[:300])
