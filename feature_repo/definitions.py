"""What the Feast command line applies: the views of DUALCAST_USE_CASE, generated from the catalogue."""

from __future__ import annotations

from dualcast.adapters.feature_views import feast_objects
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import load_use_case
from dualcast.settings import load_settings

_settings = load_settings()
_objects = feast_objects(load_use_case(_settings.use_case, _settings.use_cases), lake_paths(_settings))

# Feast finds objects by looking through the names of a module.
entity, interval = _objects.entity, _objects.valid_time
day_ahead, intraday_history, intraday_latest = _objects.day_ahead, _objects.intraday_history, _objects.intraday_latest
