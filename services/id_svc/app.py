"""The composition of id-svc: one application from its dependencies."""

from __future__ import annotations

from fastapi import FastAPI

from services.api.application import application
from services.api.openapi import described
from services.api.routes import events
from services.http.assets import serve_files
from services.id_svc.deps import IntradayDeps
from services.id_svc.routes import forecasts


def build_app(deps: IntradayDeps) -> FastAPI:
    """id-svc. Its background work starts and stops with the application."""
    app = application(deps, "id-svc", "Intraday forecasts, scored on request from the newest features")
    app.include_router(forecasts.router)
    app.include_router(events.sockets)
    shown = deps.catalogue.get(deps.settings.use_case) or next(iter(deps.catalogue.values()))
    app.openapi = described(app, shown, "intraday", what_if=True)  # type: ignore[method-assign]
    serve_files(app, "docs.html")
    return app
