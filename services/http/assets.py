"""The files of the page. The chart library is served from the installed plotly package, not from a CDN."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

_PAGE = Path(__file__).parent.parent / "page"
_FRESH = {"Cache-Control": "no-cache"}


def serve_files(app: FastAPI, front: str) -> None:
    """Serve the page ``front`` at /, the documentation of the API at /docs, and their files below /page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> FileResponse:
        return FileResponse(_PAGE / front, headers=_FRESH)

    @router.get("/docs")
    async def docs() -> FileResponse:
        return FileResponse(_PAGE / "docs.html", headers=_FRESH)

    @router.get("/page/plotly.min.js")
    async def plotly() -> FileResponse:
        script = Path(str(files("plotly") / "package_data" / "plotly.min.js"))
        return FileResponse(script, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    app.include_router(router)
    app.mount("/page", StaticFiles(directory=_PAGE))
