"""The catalogue: use cases, entities, variables, products and sources. Typed models of ``use_cases/*.yaml``.

A new use case is a new YAML file and no code. An error in a file is reported with its line.
"""

from dualcast.catalogue.base import CatalogueError, NoSuchPathError, Strict
from dualcast.catalogue.entities import Entity, HolidayCalendar
from dualcast.catalogue.features import FeatureSpec
from dualcast.catalogue.loading import load_catalogue, load_use_case, parse_use_case, parse_yaml, read_document
from dualcast.catalogue.paths import (
    MEDIAN,
    MOST_HORIZONS,
    CurveQuality,
    DayAhead,
    ForecasterSpec,
    Intraday,
    Path_,
    PathIdentifier,
    QuantileLevels,
    path_identifier,
    path_of,
)
from dualcast.catalogue.sources import ReplayMapping, SourceSeries
from dualcast.catalogue.use_case import UseCase
from dualcast.catalogue.variables import Bounds, Publication, Variable

__all__ = [
    "MEDIAN",
    "MOST_HORIZONS",
    "Bounds",
    "CatalogueError",
    "CurveQuality",
    "DayAhead",
    "Entity",
    "FeatureSpec",
    "ForecasterSpec",
    "HolidayCalendar",
    "Intraday",
    "NoSuchPathError",
    "PathIdentifier",
    "Path_",
    "Publication",
    "QuantileLevels",
    "ReplayMapping",
    "SourceSeries",
    "Strict",
    "UseCase",
    "Variable",
    "load_catalogue",
    "load_use_case",
    "parse_use_case",
    "parse_yaml",
    "path_identifier",
    "path_of",
    "read_document",
]
