"""Connections to the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from dualcast.adapters.store.engine import open_url

_FILES, _AT_ONCE = 60, 8


def test_concurrent_connections_to_a_new_file_succeed(tmp_path: Path) -> None:
    together = Barrier(_AT_ONCE)

    def connect(engine: Engine) -> None:
        together.wait()
        engine.connect().close()
        engine.dispose()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number in range(_FILES):
            engines = [open_url(make_url(f"sqlite:///{tmp_path / str(number)}.db")) for _ in range(_AT_ONCE)]
            assert list(pool.map(connect, engines)) == [None] * _AT_ONCE
