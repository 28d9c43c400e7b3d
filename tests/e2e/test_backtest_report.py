"""The report of a backtest in a real browser: readable on a wide screen and a phone, in light and dark mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser

from dualcast.catalogue import UseCase
from models.backtest.report.page import Subject, render
from models.backtest.summary import summarise


@pytest.fixture
def report(tmp_path: Path, use_case: UseCase) -> Path:
    """Three weeks of forecasts with seeded noise."""
    rng = np.random.default_rng(3)
    local = pd.date_range("2022-03-14", "2022-04-04", freq="h", tz="Europe/Berlin", inclusive="left")
    times = local.tz_convert("UTC")
    load = 50000 + 8000 * np.sin(times.hour.to_numpy() / 24 * 2 * np.pi)
    actuals = pd.DataFrame({"entity_id": "DE", "valid_time": times, "load": load, "load_forecast_tso": load * 1.02})
    point = load * (1 + 0.02 * rng.standard_normal(len(times)))
    issued = (local.normalize() - pd.Timedelta(hours=13)).tz_convert("UTC")
    forecasts = pd.DataFrame({"entity_id": "DE", "issued_at": issued, "valid_time": times, "q50": point})
    found = summarise(use_case, "day-ahead", forecasts.assign(q10=point - 1200, q90=point + 1200), actuals)
    subject = Subject(
        "Backtest", "three weeks", "MW", "load_forecast_tso", (0.1, 0.9), {"features": "a_long_name, " * 60}
    )
    file = tmp_path / "report.html"
    file.write_text(render(subject, found), encoding="utf-8")
    return file


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 1280), ("dark", 390), ("light", 390)])
def test_the_report_fits_the_screen_and_loads_nothing(browser: Browser, report: Path, scheme: str, width: int) -> None:
    page = browser.new_page(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 900}
    )
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(report.as_uri())
    assert asked == [report.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(10, 14, 19)") == (scheme == "dark")
    # labels of plots are readable: about nine pixels or more
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => s.clientWidth / s.viewBox.baseVal.width * 11)"
    )
    assert min(sizes) > 7.5
    assert len(sizes) == 4 + 12
    page.close()
