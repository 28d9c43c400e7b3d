"""What the Feast command line applies: the views of DUALCAST_USE_CASE, generated from the catalogue."""

from __future__ import annotations

from dualcast.adapters.feature_views import feast_objects
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import load_use_case
from dualcast.settings import load_settings

_settings = load_settings()
_objects = feast_objects(load_use_case(_settings.use_case, _settings.use_cases), lake_paths(_settings))

# Feast finds objects by looking through the names of a module.
globals().update({found.name: found for found in _objects.all()})
