"""The composition of da-svc: one application from its dependencies."""

from __future__ import annotations

from fastapi import FastAPI

from services.api.application import application
from services.api.openapi import described
from services.api.routes import events
from services.da_svc import routes
from services.da_svc.answer_cache import CachedAnswers
from services.da_svc.deps import DayAheadDeps
from services.http.assets import serve_files


def build_app(deps: DayAheadDeps) -> FastAPI:
    """da-svc. Its background work starts and stops with the application."""
    app = application(deps, "da-svc", "Day-ahead forecasts, precomputed, and the page")
    CachedAnswers.add_to(app, deps, deps.answers)
    app.include_router(routes.router)
    app.include_router(events.sockets)
    shown = deps.catalogue.get(deps.settings.use_case) or next(iter(deps.catalogue.values()))
    app.openapi = described(app, shown, "day-ahead", what_if=False)  # type: ignore[method-assign]
    serve_files(app, "index.html")
    return app
