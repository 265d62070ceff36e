"""The pages as a browser shows them: drawn, readable, reachable by keyboard, and silent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = (
    "quantize", "analyse", "sensitivity", "search", "compare", "report", "report of one", "report of many",
    "report of changes",
)  # fmt: skip
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


# Text and drawings that stick out of the page, and are in no box that scrolls.
CUT = """() => [...document.querySelectorAll('main *, header *')].filter(one => {
    if (one.closest('.scroll, .marks, title, defs')) return false;
    const box = one.getBoundingClientRect();
    const outside = box.width > 0 && (box.left < -1 || box.right > document.documentElement.clientWidth + 1);
    const style = getComputedStyle(one);
    const hidden = style.overflowX == 'hidden' && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1;
    return outside || (hidden && !one.closest('svg'));
}).map(one => one.outerHTML.slice(0, 160))"""
WIDE = """() => [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)
    .map(box => `${box.ariaLabel}: ${box.scrollWidth} in ${box.clientWidth}`)"""
# Boxes that scroll without a scrollbar that says so.
UNHINTED = """() => [...document.querySelectorAll('.scroll')].filter(box =>
    (box.scrollWidth > box.clientWidth + 1 && box.offsetHeight - box.clientHeight < 8) ||
    (box.scrollHeight > box.clientHeight + 1 && box.offsetWidth - box.clientWidth < 8)).map(box => box.ariaLabel)"""
# A phone and a desk; a folder for pictures of the pages, where somebody wants to look at them.
WIDTHS = (390, 1400)
SCREENSHOTS = os.environ.get("BITFACE_SCREENSHOTS")


def keep(page: Any, name: str) -> None:
    """Writes a picture of the whole page, where they are wanted."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name.replace(' ', '-')}.png", full_page=True)


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


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    with shown(browser, pages[name], width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT) == []
        # Whatever the width, no column of a table hides behind an edge.
        assert page.evaluate(WIDE) == []
        assert page.evaluate(UNHINTED) == []
        assert all(min(one["size"]) > 4 for one in page.evaluate(DRAWN))
        keep(page, f"{name} {width}")


@pytest.mark.parametrize("name", PAGES)
def test_between_phone_and_desk_what_is_wide_says_that_it_scrolls(
    browser: Any, pages: dict[str, Path], name: str
) -> None:
    with shown(browser, pages[name], width=800) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        assert page.evaluate(CUT) == []
        assert page.evaluate(UNHINTED) == []


@pytest.mark.parametrize("name", ["analyse", "report", "report of many"])
def test_what_moves_can_be_moved_by_keyboard(browser: Any, pages: dict[str, Path], name: str) -> None:
    with shown(browser, pages[name], width=800) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        wide = "[...document.querySelectorAll('*')].filter(one => getComputedStyle(one).overflowX == 'auto' &&"
        wide += " (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1))"
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
