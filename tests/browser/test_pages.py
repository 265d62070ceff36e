"""The pages as a browser shows them: drawn, readable, reachable by keyboard, and silent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = ("quantize", "analyse", "sensitivity", "search", "compare", "report", "report of one", "report of many")
# Pixels between margins of 1 cm.
A4 = 718
DRAWN = """() => [...document.querySelectorAll('svg')].filter(one => !one.matches('svg svg, .marks')).map(one => {
    const box = one.getBoundingClientRect();
    const parts = [...one.querySelectorAll('rect, line, circle, polyline, use, path')];
    return {name: one.ariaLabel, size: [box.width, box.height], parts: parts.length, shown: parts.filter(part => {
        const own = part.getBoundingClientRect();
        return own.width + own.height > 0;
    }).length};
})"""


@contextmanager
def shown(browser: Any, path: Path, scheme: str = "light", width: int = 1100) -> Iterator[Any]:
    """A page in the browser; fails where it says something on the console or asks for anything."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert not said
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


@pytest.mark.parametrize("name", PAGES)
def test_every_drawing_is_drawn(browser: Any, pages: dict[str, Path], name: str) -> None:
    with shown(browser, pages[name]) as page:
        drawings = page.evaluate(DRAWN)
        assert drawings
        for one in drawings:
            assert min(one["size"]) > 4, one
            assert one["shown"] or not one["parts"], one
        assert page.evaluate("document.querySelectorAll('script').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_it(browser: Any, pages: dict[str, Path], axe: str, name: str, scheme: str) -> None:
    with shown(browser, pages[name], scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        page.evaluate(axe)
        found = page.evaluate("axe.run().then(found => found.violations)")
        assert not [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"]) for one in found]


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_need_not_scroll_sideways(browser: Any, pages: dict[str, Path], name: str) -> None:
    with shown(browser, pages[name], width=360) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert all(min(one["size"]) > 4 for one in page.evaluate(DRAWN))


@pytest.mark.parametrize("name", ["analyse", "report", "report of many"])
def test_what_moves_can_be_moved_by_keyboard(browser: Any, pages: dict[str, Path], name: str) -> None:
    with shown(browser, pages[name], width=360) as page:
        wide = "[...document.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1 &&"
        wide += " getComputedStyle(one).overflowX == 'auto')"
        assert page.evaluate(f"{wide}.length") > 0
        assert page.evaluate(f"{wide}.filter(one => one.tabIndex != 0 || !one.ariaLabel).length") == 0


@pytest.mark.parametrize("name", ["analyse", "report", "report of many"])
def test_names_stay_text(browser: Any, pages: dict[str, Path], name: str) -> None:
    with shown(browser, pages[name]) as page:
        assert HOSTILE in page.inner_text("main")
        if name == "report":
            assert page.title() == page.inner_text("h1") == HOSTILE


def test_links_lead_to_their_parts(browser: Any, pages: dict[str, Path]) -> None:
    with shown(browser, pages["report of many"]) as page:
        links = page.locator("nav a")
        titles = links.all_inner_texts()
        for part in ("pruned by", "distilled from", "Comparison", "Operating points", "Tables", "Provenance"):
            assert any(part in title for title in titles), titles
        for number, title in enumerate(titles):
            links.nth(number).click()
            assert page.evaluate("document.querySelector(location.hash + ' h2').innerText").startswith(title) or (
                title == "Tables"
            )


@pytest.mark.parametrize("name", PAGES)
def test_paper_is_white_and_wide_enough(browser: Any, pages: dict[str, Path], name: str) -> None:
    with shown(browser, pages[name], "dark", width=A4) as page:
        page.emulate_media(media="print")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= A4
        ink, paper = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).background]"
        )
        assert ink == "rgb(27, 31, 36)"
        assert "rgb(255, 255, 255)" in paper
        assert len(page.pdf(format="A4")) > 20_000
