"""The page in a real browser, with data in memory: curves are drawn, numbers are right, no other host is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import access_world
from tests import services_world as world
from tests.served import served


@pytest.fixture
def deps() -> DayAheadDeps:
    """da-svc with three days of observations and curves, at noon (UTC) of 2022-05-03."""
    return world.filled_da_deps()


@pytest.fixture
def address(deps: DayAheadDeps) -> Iterator[str]:
    """da-svc on a free port."""
    with served(build_app(deps)) as url:
        yield url


class PageLog:
    """The error messages and the requests of a page."""

    def __init__(self, page: Page, address: str) -> None:
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((address, "data:")) else self.elsewhere.append(r.url))


def opened(
    browser: Browser, address: str, scheme: str = "dark", width: int = 1440, path: str = "/"
) -> tuple[Page, PageLog]:
    """Open the page and wait until it is drawn."""
    dark = "dark" if scheme == "dark" else "light"
    page = browser.new_page(color_scheme=dark, viewport={"width": width, "height": 900})
    watch = PageLog(page, address)
    page.goto(address + path)
    page.wait_for_selector("body[data-state=shown]", timeout=30_000)
    return page, watch


def drawn(page: Page, chart: str) -> dict[str, list[float]]:
    """The values of each named trace of a chart, as Plotly has them."""
    script = "(id) => Object.fromEntries(document.getElementById(id).data.filter(t => t.name).map(t => [t.name, t.y]))"
    values: dict[str, list[float]] = page.evaluate(script, chart)
    return values


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1440), ("light", 390)])
def test_both_forecasts_are_drawn_with_actuals(browser: Browser, address: str, scheme: str, width: int) -> None:
    page, watch = opened(browser, address, scheme, width)
    day_ahead, intraday = drawn(page, "day-ahead-chart"), drawn(page, "intraday-chart")
    assert set(day_ahead) == {"Day-ahead", "Actual", "Reference"}
    assert set(intraday) == {"Intraday", "An hour before", "Actual", "Reference"}
    newest, before = world.intraday(world.NOW), world.intraday(world.NOW - timedelta(hours=1))
    assert intraday["An hour before"] == [p.values[1] for p in before.points]
    assert intraday["Intraday"] == [p.values[1] for p in newest.points]
    tomorrow = [p.values[1] for p in world.day_ahead(date(2022, 5, 4)).points]
    assert day_ahead["Day-ahead"][-24:] == tomorrow
    last = world.true_load(world.NOW - timedelta(minutes=15))
    assert [v for v in day_ahead["Actual"] if v is not None][-1] == last
    lines = page.locator("#day-ahead-chart .scatterlayer path.js-line")
    assert lines.count() >= 3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    assert watch.complaints == []
    assert watch.elsewhere == []
    page.close()


def test_numbers_and_states_are_shown(browser: Browser, address: str) -> None:
    page, _ = opened(browser, address)
    latest = f"{world.true_load(world.NOW - timedelta(minutes=15)):,.0f} MW"
    expect(page.locator("#tile-actual")).to_have_text(latest)
    expect(page.locator("#tile-error")).to_have_text("1.00%")
    expect(page.locator("#errors tr").first).to_contain_text("Day-ahead1.00%4.00%75%100.0%")
    expect(page.locator("#errors")).to_contain_text("Intraday, 1 h0.50%")
    expect(page.locator("#now")).to_have_text("Tue, 3 May 2022, 14:00")
    expect(page.get_by_text("Simulated data")).to_be_visible()
    expect(page.locator("#path-day-ahead .chip")).to_have_text("OK")
    expect(page.locator("#path-intraday")).to_contain_text("model_id_de_load v1")
    expect(page.get_by_role("img", name="Day-ahead curve for Wed 4 May: 24 intervals")).to_be_visible()
    page.close()


def test_an_old_curve_is_shown_as_stale_and_not_as_the_next_hour(browser: Browser) -> None:
    deps = world.da_deps(world.frozen(world.NOW + timedelta(hours=4)))
    world.fill(deps)
    with served(build_app(deps)) as address:
        page, _ = opened(browser, address)
        expect(page.locator("#path-intraday .chip")).to_have_text("Stale")
        expect(page.locator("#path-intraday .reasons")).to_contain_text("stale curve")
        expect(page.locator("#tile-intraday")).to_have_text("\u2013")
        expect(page.locator("#path-day-ahead .chip")).to_have_text("OK")
        page.close()


def test_a_curve_published_while_the_page_is_open_is_shown(browser: Browser, address: str, deps: DayAheadDeps) -> None:
    page, watch = opened(browser, address)
    page.evaluate("document.querySelector('main').dataset.height = document.querySelector('main').offsetHeight")
    better = world.intraday(world.NOW + timedelta(minutes=15), ratio=1.1, model_version="7", degraded=True)
    deps.curves.add(replace(better, degraded_reasons=["fallback: previous_version"]))
    expect(page.locator("#path-intraday .chip")).to_have_text("Fallback", timeout=10_000)
    expect(page.locator("#path-intraday")).to_contain_text("model_id_de_load v7")
    expect(page.locator("#path-intraday .reasons")).to_contain_text("previous version")
    assert drawn(page, "intraday-chart")["Intraday"] == [p.values[1] for p in better.points]
    jumped = "document.querySelector('main').offsetHeight - document.querySelector('main').dataset.height"
    assert abs(page.evaluate(jumped)) <= 20
    assert watch.complaints == []
    page.close()


def test_the_page_asks_for_a_key_if_keys_exist(
    browser: Browser, address: str, deps: DayAheadDeps, tmp_path: Path
) -> None:
    page = browser.new_page()
    with access_world.store(tmp_path) as store:
        key = access_world.key(store)
        deps.access = access_world.access(store)
    page.goto(address)
    page.get_by_label("This service requires a key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#tile-error")).to_have_text("1.00%")
    expect(page.locator("#key-form")).to_be_hidden()
    page.close()


def test_the_api_documentation_can_be_read_and_tried(browser: Browser, address: str) -> None:
    page, watch = opened(browser, address, path="/docs")
    operation = page.locator("details", has_text="/api/v1/forecasts/day-ahead/{entity_id}")
    operation.locator("summary").click()
    operation.get_by_label("entity_id").fill("DE")
    operation.get_by_role("button", name="Try it").click()
    expect(operation.locator("pre").last).to_contain_text('"delivery_date": "2022-05-04"')
    assert (watch.complaints, watch.elsewhere) == ([], [])
    page.close()
