"""`bitface try` in a browser: two pictures, a camera, a page for everybody, and nothing that leaves this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bitface.tryout import TryoutServer

from .conftest import CHROMIUM, OPTIONS
from .test_pages import WIDTHS, keep

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@contextmanager
def opened(browser: Any, server: TryoutServer, scheme: str = "light", width: int = 1100) -> Iterator[Any]:
    """The page; fails where it says something on the console, or asks for anything elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    page.locator("#title", has_text="beside").wait_for()
    yield page
    context.close()
    # A refused picture is an answer of the server's, which the browser notes by itself.
    assert not [text for text in said if "422" not in text]
    assert not [url for url in asked if not url.startswith((server.url, "data:", "blob:"))]


@pytest.fixture(scope="session")
def shots(pages: dict[str, Path]) -> list[Path]:
    """Two crops of one person and one of another."""
    faces = pages["report"].parent / "faces"
    return [faces / "p1" / "0.png", faces / "p1" / "1.png", faces / "p2" / "0.png"]


def choose(page: Any, first: Path, second: Path) -> None:
    page.locator("#left input").set_input_files(first)
    page.locator("#right input").set_input_files(second)
    page.wait_for_selector("#answers:not([hidden])")


def test_two_pictures(browser: Any, tried: TryoutServer, shots: list[Path]) -> None:
    with opened(browser, tried) as page:
        assert "Same person from a score of 0.5000" in page.inner_text("#threshold")
        choose(page, shots[0], shots[1])
        lines = page.locator("#answers tbody tr").all_inner_texts()
        expected = tried.trial.compare([shots[0].read_bytes(), shots[1].read_bytes()])["networks"]
        for line, one, kind in zip(lines, expected, ("float", "integer"), strict=True):
            assert kind in line
            assert f"{one['similarity']:.4f}" in line
            assert ("same person" if one["same"] else "different people") in line
            assert re.search(r"\d ms", line)
        assert "apart" in page.inner_text("#difference")
        assert page.locator("#left .crop img").evaluate("one => one.naturalWidth") == 112
        before = lines[0]
        page.locator("#right input").set_input_files(shots[2])
        page.locator("#answers tbody tr:first-child", has_not_text=f"{expected[0]['similarity']:.4f}").wait_for()
        assert page.locator("#answers tbody tr").all_inner_texts()[0] != before


def test_what_is_no_picture(browser: Any, tried: TryoutServer, shots: list[Path], tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>.png"
    hostile.write_bytes(b"<script>alert(1)</script>")
    with opened(browser, tried) as page:
        page.locator("#left input").set_input_files(shots[0])
        page.locator("#right input").set_input_files(hostile)
        page.locator("#status", has_text="the right picture: not an image that can be read").wait_for()
        assert page.locator("#answers").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(browser: Any, tried: TryoutServer, shots: list[Path], axe: str, scheme: str) -> None:
    with opened(browser, tried, scheme) as page:
        choose(page, shots[0], shots[2])
        # The page's own policy keeps out what isn't its own, so the checker comes in through the debugger.
        page.evaluate(axe)
        found = page.evaluate("axe.run().then(found => found.violations)")
        assert not [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"]) for one in found]
        keep(page, f"try {scheme} 1100")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut(browser: Any, tried: TryoutServer, shots: list[Path], width: int) -> None:
    with opened(browser, tried, width=width) as page:
        choose(page, shots[0], shots[1])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = (
            "[...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth)"
        )
        assert page.evaluate(f"{outside}.length") == 0
        keep(page, f"try {width}")


@pytest.mark.assets
def test_a_camera_beside_a_picture(camera: Any, tried: TryoutServer, shots: list[Path]) -> None:
    with opened(camera, tried) as page:
        page.locator("#left input").set_input_files(shots[0])
        page.locator("#right button").click()
        page.wait_for_selector("#right video:not([hidden])")
        page.wait_for_selector("#answers:not([hidden])", timeout=60_000)
        assert page.inner_text("#right figcaption") == "The face that is found in it."
        keep(page, "try camera")
        # The picture that is kept goes on being compared, and the camera is let go.
        page.get_by_role("button", name="Keep this picture").click()
        page.wait_for_selector("#right video", state="hidden")
        assert page.locator("#right img:visible").count()
        assert page.locator("#right video").evaluate("one => one.srcObject") is None
        page.wait_for_selector("#answers:not([hidden])")


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Any]:
    """A browser whose camera shows somebody who doesn't exist."""
    from bitface.data.synthetic import make_faces

    face = cv2.resize(make_faces(1).images[0], (240, 240), interpolation=cv2.INTER_CUBIC)
    frame = cv2.copyMakeBorder(face, 120, 120, 200, 200, cv2.BORDER_REPLICATE)
    film = y4m(np.stack([frame] * 10), tmp_path_factory.mktemp("film") / "camera.y4m")
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    fake.append(f"--use-file-for-fake-video-capture={film}")
    own = browser.browser_type.launch(executable_path=str(CHROMIUM), args=[*OPTIONS, *fake])
    yield own
    own.close()


def y4m(frames: np.ndarray, path: Path) -> Path:
    """uint8 RGB `[N, H, W, 3]` as YUV4MPEG2, which needs no encoder."""
    height, width = frames.shape[1:3]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path
