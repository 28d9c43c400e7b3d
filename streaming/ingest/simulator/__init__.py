"""Simulators: each generates the observations of one kind of entity, and marks every value as simulated."""

from __future__ import annotations

from collections.abc import Callable

from dualcast.catalogue import UseCase
from dualcast.observations.frames import SourceError
from streaming.ingest.simulator.bidding_zone import BiddingZoneSimulator
from streaming.ingest.source import Source

# The simulator of a kind of entities, by the parameter that all entities of the kind have.
_KINDS: dict[str, Callable[[UseCase], Source]] = {"mean_load_mw": BiddingZoneSimulator}


def open_simulator(use_case: UseCase) -> Source:
    """The simulator for the entities' ``simulation`` in the catalogue. Raises SourceError if there is none."""
    for parameter, simulator in _KINDS.items():
        if all(parameter in entity.simulation for entity in use_case.entities):
            return simulator(use_case)
    raise SourceError(
        f"{use_case.use_case} has no simulator: its entities' 'simulation' must all give one of {', '.join(_KINDS)};"
        " replay a file with --data instead"
    )
