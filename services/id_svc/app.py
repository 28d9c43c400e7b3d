"""The composition of id-svc: one application from its dependencies."""

from __future__ import annotations

from fastapi import FastAPI

from services.id_svc import routes
from services.id_svc.deps import IntradayDeps
from services.shared.api import application
from services.shared.assets import serve_files


def build_app(deps: IntradayDeps) -> FastAPI:
    """id-svc. Its background work starts and stops with the application."""
    app = application(deps, "id-svc", "Intraday forecasts, scored on request from the newest features")
    app.include_router(routes.router)
    serve_files(app, "docs.html")
    return app
