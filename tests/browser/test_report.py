"""report.html in a real browser: drawn, silent on the network, and deaf to hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from run_folders import HOSTILE, make_run, write_confusion, write_embeddings, write_subgraphs

from umbel.server.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=arguments
        )
        yield chromium
        chromium.close()


class Visit:
    """One report opened in the browser, with what it asked for and complained about."""

    def __init__(self, browser: Browser, report: Path, width: int = 1280) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        self.page.goto(report.as_uri())
        self.page.wait_for_selector("body[data-drawn]", state="attached", timeout=60_000)


def _choose_another_client(visit: Visit) -> None:
    """The figure of each client's confusion shows what belongs to the name that was chosen."""
    shown = """() => { const t = document.getElementById("confusion-1").data[0];
      return JSON.stringify(t.type === "bar" ? t.x : t.z); }"""
    first = visit.page.evaluate(shown)
    menu = visit.page.locator("#confusion-1 .updatemenu-header")
    menu.click()
    visit.page.locator("#confusion-1 .updatemenu-dropdown-button").nth(1).click()
    visit.page.wait_for_function(f"({shown})() !== {first!r}")
    assert "client-" in (menu.text_content() or "")


@pytest.mark.parametrize("clients", [3, 40, 300])
def test_a_report_draws_every_plot_and_asks_for_nothing(
    browser: Browser, tmp_path: Path, clients: int
) -> None:
    folder = make_run(tmp_path, clients=clients, rounds=5, hostile=True)
    names = [HOSTILE, *(f"client-{index}" for index in range(min(clients, 100) - 1))]
    classes = {3: 12, 40: 25, 300: 40}[clients]
    write_confusion(folder, names, classes)
    write_embeddings(folder, classes)
    write_subgraphs(folder, names, classes)
    report = write_report(folder)
    visit = Visit(browser, report)
    assert visit.errors == []
    assert visit.requests == [report.as_uri()]
    places = visit.page.locator("figure.card")
    assert places.count() == 12
    drawn = places.filter(has=visit.page.locator(".cartesianlayer .trace, .cartesianlayer .hm"))
    assert drawn.count() == 12
    _choose_another_client(visit)
    assert visit.errors == [] and visit.requests == [report.as_uri()]
    assert visit.page.title() == "digits - umbel report"
    visit.page.close()


def test_a_hostile_name_is_shown_and_does_nothing(browser: Browser, tmp_path: Path) -> None:
    visit = Visit(browser, write_report(make_run(tmp_path, clients=3, rounds=5, hostile=True)))
    assert "<script>document.title='owned'" in visit.page.locator("#failures").inner_text()
    assert "<script>" in (visit.page.locator("#clients-0 .legend").text_content() or "")
    assert visit.page.locator("img").count() == 0
    assert visit.page.title() == "digits - umbel report"
    visit.page.close()


def test_a_script_that_slipped_in_would_not_run(browser: Browser, tmp_path: Path) -> None:
    report = write_report(make_run(tmp_path))
    page = report.read_text(encoding="utf-8")
    attack = "<main><script>document.title = 'owned'</script><img src='https://umbel.invalid/x'>"
    report.write_text(page.replace("<main>", attack, 1), encoding="utf-8")
    visit = Visit(browser, report)
    assert visit.page.title() == "digits - umbel report"
    assert all("Content Security Policy" in error for error in visit.errors)
    assert len(visit.errors) == 2
    visit.page.close()


@pytest.mark.parametrize("width", [360, 800, 1920])
def test_the_page_fits_its_window(browser: Browser, tmp_path: Path, width: int) -> None:
    visit = Visit(
        browser, write_report(make_run(tmp_path, clients=20, rounds=5, hostile=True)), width
    )
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.page.close()
