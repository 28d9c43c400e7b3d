"""Which sources there are, and the one that a command reads. A new source adds its line here."""

from __future__ import annotations

from pathlib import Path

from dualcast.adapters.files.observations import FileSource, load_mapping
from dualcast.catalogue import UseCase
from streaming.ingest.source import Source


def open_source(use_case: UseCase, data: Path | None, mapping: Path | None) -> Source:
    """The file ``data`` as ``mapping`` (else the use case) maps it, or the simulator where no file is given.

    Raises SourceError or CatalogueError.
    """
    if data is None:
        from streaming.ingest.simulator import open_simulator  # noqa: PLC0415 -- takes a second

        return open_simulator(use_case)
    return FileSource(data, use_case, use_case.replay if mapping is None else load_mapping(mapping))
