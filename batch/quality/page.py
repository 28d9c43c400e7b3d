"""The newest verdicts as a static HTML page in the lake."""

from __future__ import annotations

import fsspec
from jinja2 import Environment, PackageLoader

from batch.quality.verdicts import newest_verdicts
from dualcast.adapters.lake import lake_paths
from dualcast.settings import Settings

_MOST_VERDICTS = 60


def quality_page(settings: Settings) -> str:
    """The path of the page."""
    return f"{lake_paths(settings).quality}/index.html"


def write_page(settings: Settings) -> str:
    """Write the page, and return its path."""
    page = quality_page(settings)
    templates = Environment(loader=PackageLoader("batch.quality", "."), autoescape=True, trim_blocks=True)
    text = templates.get_template("page.html.jinja").render(
        verdicts=list(newest_verdicts(settings, _MOST_VERDICTS)),
        now=f"{settings.clock.now():%Y-%m-%d %H:%M}",
    )
    with fsspec.open(page, "w", auto_mkdir=True, encoding="utf-8") as opened:
        opened.write(text)
    return page
