"""Every page of the documentation's site as a phone and a desk show it: nothing cut, readable by day and by night."""

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .test_pages import WIDTHS, keep

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
# What sticks out of the page, or is cut by a box that doesn't scroll; tables and code scroll in boxes of their own.
CUT = """() => [...document.querySelectorAll('article *')].filter(one => {
    const box = one.getBoundingClientRect(), hidden = getComputedStyle(one).overflowX == 'hidden';
    if (!box.width || one.closest('svg svg, defs, title')) return false;
    let scrolls = false;
    for (let outer = one.parentElement; outer.tagName != 'ARTICLE'; outer = outer.parentElement)
        scrolls ||= ['auto', 'scroll'].includes(getComputedStyle(outer).overflowX);
    const outside = box.right > document.documentElement.clientWidth + 1 || box.left < -1;
    return (outside && !scrolls) || (hidden && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1);
}).map(one => one.outerHTML.slice(0, 160))"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The address of the site on this machine, and its pages."""
    pytest.importorskip("material", reason="pip install 'bitface[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = [path.relative_to(folder).as_posix().removesuffix("index.html") for path in folder.rglob("*.html")]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", sorted(pages)
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def shown(browser: Any, address: str, width: int, scheme: str = "light") -> Iterator[Any]:
    """A tab; fails where a page says something on its console, or asks another server for anything."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert not said
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_of_the_site_is_cut(browser: Any, site: tuple[str, list[str]], width: int) -> None:
    address, pages = site
    assert len(pages) > 40
    found: dict[str, Any] = {}
    with shown(browser, address, width) as page:
        for name in pages:
            page.goto(address + name)
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                found[name] = wide
            elif cut := page.evaluate(CUT):
                found[name] = cut
            keep(page, f"site {name.strip('/').replace('/', ' ') or 'index'} {width}")
    assert not found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_the_site(browser: Any, site: tuple[str, list[str]], axe: str, scheme: str) -> None:
    address, pages = site
    found: dict[str, Any] = {}
    with shown(browser, address, 1400, scheme) as page:
        for name in pages:
            page.goto(address + name)
            page.evaluate(axe)
            for one in page.evaluate("axe.run({runOnly: ['color-contrast']}).then(found => found.violations)"):
                found[name] = [(node["html"][:120], node["failureSummary"]) for node in one["nodes"][:3]]
        dark = page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
        assert dark == (scheme == "dark")
    assert not found
