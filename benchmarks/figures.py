"""The drawings of `docs/analysis.md`, photographed from the pages that `bitface analyse` writes.

    python benchmarks/figures.py [--only TEXT] [--out out/angles] [--trained out/qat]

Of each MobileFaceNet at 8, 6 and 4 bits, calibrated and trained: the distributions of RCM's figures 2 and 7, and at 4
bits the t-SNE maps of QMobileFaceNet's figure 3. Pages that `angles.py` has left in `--out` aren't made again; it must
have measured the trained ones. Needs what `make browser` installs, and chromium.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from angles import analysed, report_of, students
from lib.common import HERE, artifact
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright

FIGURES = HERE.parent / "docs" / "figures"
# File name → network, and what it was trained by at 4 bits.
SHOWN = {
    "relu6": ("MobileFaceNet ReLU6", "best-w4a4-2"),
    "prelu": ("MobileFaceNet PReLU", "best-w4a4-epochs-3-0"),
}
_WIDTH, _CAPTION = 1100, 28


def students_of(trained: str) -> dict[str, str]:
    """Students as angles.py names them → captions."""
    trainings = {"w8a8": "best-w8a8-0", "w6a6": "best-w6a6-1", "w4a4": trained}
    pairs = [((f"{bits} ptq", "calibrated"), (f"{name} qat", "trained")) for bits, name in trainings.items()]
    return {key: f"{bits}, {how}" for bits, both in zip(trainings, pairs, strict=True) for key, how in both}


def page_of(key: str, network: str, made: Path | None, out: Path) -> Path:
    """The page of a student, made where there is none of the same artifact."""
    analysed(f"{key} unseen", network, made or artifact(network, key.split()[-2], out), out, True)
    return report_of(f"{key} unseen", out) / "analysis.html"


@contextmanager
def browser() -> Iterator[Any]:
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--headless"])
        yield found.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light")
        found.close()


def photographed(page: Any, file: Path, selector: str, into: Path) -> Image.Image:
    page.goto(file.resolve().as_uri())
    page.locator(selector).first.screenshot(path=into)
    with Image.open(into) as image:
        return image.convert("RGB")


def stacked(parts: dict[str, Image.Image]) -> Image.Image:
    """Pictures below each other, each under its caption."""
    height = sum(part.height + _CAPTION for part in parts.values())
    result = Image.new("RGB", (max(part.width for part in parts.values()), height), "white")
    draw, font, top = ImageDraw.Draw(result), ImageFont.load_default(18), 0
    for caption, part in parts.items():
        draw.text((4, top + 4), caption, fill="black", font=font)
        result.paste(part, (0, top + _CAPTION))
        top += part.height + _CAPTION
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/angles"))
    parser.add_argument("--trained", type=Path, default=Path("out/qat"))
    options = parser.parse_args()
    known = students("w8a8,w6a6,w4a4", "", options.trained)
    if not any(options.only in network for network, _ in SHOWN.values()):
        raise SystemExit(f"no network's name holds '{options.only}'")
    FIGURES.mkdir(exist_ok=True)
    scratch = options.out / "figure.png"
    for name, (network, trained) in SHOWN.items():
        if options.only not in network:
            continue
        pages = {}
        for student, caption in students_of(trained).items():
            key = f"{network} {student}"
            if key not in known:
                raise SystemExit(f"{key}: not trained yet; run benchmarks/qat.py")
            pages[caption] = page_of(key, *known[key], options.out)
        with browser() as page:
            angles = {
                caption: photographed(page, file, "#angles .side.broad", scratch) for caption, file in pages.items()
            }
            maps = {
                caption: photographed(page, file, "#maps .side", scratch)
                for caption, file in pages.items()
                if "w4a4" in caption
            }
        for kind, parts in (("angles", angles), ("maps", maps)):
            stacked(parts).quantize(64).save(FIGURES / f"{kind}-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
