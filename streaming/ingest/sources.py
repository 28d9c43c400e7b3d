"""The available sources, and how commands open them. A new source adds its line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from dualcast.adapters.files.observations import FileSource, load_mapping
from dualcast.catalogue import UseCase
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from streaming.ingest.signals import Stop
from streaming.ingest.source import Puller, Source

# By the name in the catalogue. Imported on demand, since each needs its own libraries.
PULLERS = {
    "entsoe": "streaming.ingest.pull.entsoe:EntsoePuller",
    "esios": "streaming.ingest.pull.esios:EsiosPuller",
    "open_meteo": "streaming.ingest.pull.open_meteo:OpenMeteoPuller",
    "smard": "streaming.ingest.pull.smard:SmardPuller",
}


def open_source(use_case: UseCase, data: Path | None, mapping: Path | None) -> Source:
    """The file ``data`` with the columns of ``mapping`` (default: of the use case); without a file, the simulator.

    Raises SourceError or CatalogueError.
    """
    if data is None:
        from streaming.ingest.simulator import open_simulator  # noqa: PLC0415 -- takes a second

        return open_simulator(use_case)
    return FileSource(data, use_case, use_case.replay if mapping is None else load_mapping(mapping))


def open_puller(name: str, use_case: UseCase, settings: Settings, stop: Stop) -> Puller:
    """The source ``name``, ready to query its series in the catalogue. Raises SourceError."""
    if name not in PULLERS:
        raise SourceError(f"there is no source {name!r} to pull from; there are: {', '.join(PULLERS)}")
    if name not in use_case.sources:
        has = ", ".join(source for source in use_case.sources if source in PULLERS) or "none"
        raise SourceError(f"{use_case.use_case} has no series of {name!r} in its 'sources'; it has: {has}")
    module, _, maker = PULLERS[name].partition(":")
    puller: Puller = getattr(import_module(module), maker)(use_case, settings, stop)
    return puller
