"""The composition of da-svc: one application from its dependencies."""

from __future__ import annotations

from fastapi import FastAPI

from services.da_svc import routes
from services.da_svc.deps import DayAheadDeps
from services.shared.api import application
from services.shared.assets import serve_files


def build_app(deps: DayAheadDeps) -> FastAPI:
    """da-svc. Its background work starts and stops with the application."""
    app = application(deps, "da-svc", "Day-ahead forecasts, precomputed, and the page")
    app.include_router(routes.router)
    serve_files(app, "index.html")
    return app
