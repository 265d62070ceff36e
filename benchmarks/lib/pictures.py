"""The picture on the first page: how small a network gets, and how many people it still recognises; as SVG."""

import math
from typing import Any

from lib.drawings import document, text
from lib.tables import read, trainings

# Network → its colour.
_NETWORKS = {"MobileFaceNet PReLU": "#1565c0", "MobileFaceNet ReLU6": "#c75000"}
# Where a label would lie on the other curve: across, down, and which end of it is there.
_LABELS = {("MobileFaceNet ReLU6", "w4a4s8"): (-9, 2, "end"), ("MobileFaceNet PReLU", "w3a3"): (9, 12, "start")}
_WIDTH, _HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 58, 52
_KILOBYTES = (300, 500, 1000, 2000, 4000)
_SHARES = (75, 80, 85, 90, 95, 100)


def points(network: str) -> list[tuple[str, float, float]]:
    """(bits, bytes, TAR in per cent) of a network, the largest first: in float, then trained, with the first seed.

    With sums and depthwise weights at 8 bits where that was measured, else strict.
    """
    whole = next(row for row in read("accuracy")["rows"] if row["network"] == network and row["bits"] == "float32")
    trained: dict[str, dict[str, Any]] = {}
    for row in sorted(trainings(), key=lambda row: not row["bits"].endswith("s8")):
        if row["network"] == network and row["seed"] == 0:
            trained.setdefault(row["bits"].removesuffix("s8"), row)
    rows = sorted(trained.values(), key=lambda row: -row["bytes"])
    result = [("float32", whole["float bytes"], whole), *((row["bits"], row["bytes"], row) for row in rows)]
    return [(bits, size, 100 * row["tar"]["0.0001"]) for bits, size, row in result if row["tar"]["0.0001"] > 0.75]


def _x(size: float) -> float:
    low, high = math.log(_KILOBYTES[0] * 1e3), math.log(4.4e6)
    return _LEFT + (math.log(size) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - (share - _SHARES[0]) / (_SHARES[-1] - _SHARES[0]) * (_HEIGHT - _TOP - _BOTTOM)


def sizes() -> str:
    """Bytes on disk (a logarithm) and TAR at FAR 1e-4 over all pairs of LFW's test images, as an SVG document."""
    lines = [
        text(16, 24, "Genuine pairs accepted at FAR 1e-4 (%), by the size of the file", 15, "start", "#111"),
    ]
    for share in _SHARES:
        line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" stroke="#e2e2e2"/>'
        lines += [line, text(_LEFT - 8, _y(share) + 4, str(share), anchor="end")]
    for kilobytes in _KILOBYTES:
        words = f"{kilobytes} KB" if kilobytes < 1000 else f"{kilobytes // 1000} MB"
        lines.append(text(_x(kilobytes * 1e3), _HEIGHT - _BOTTOM + 20, words))
    lines.append(
        text(16, _HEIGHT - 10, "trained from 5,532 unlabelled faces; all pairs of LFW's 7,701 test images", 11, "start")
    )
    for place, (network, colour) in enumerate(_NETWORKS.items()):
        known = points(network)
        path = " ".join(f"{_x(size):.1f},{_y(tar):.1f}" for _, size, tar in known)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for bits, size, tar in known:
            lines.append(f'<circle cx="{_x(size):.1f}" cy="{_y(tar):.1f}" r="4.5" fill="{colour}"/>')
            across, down, anchor = _LABELS.get((network, bits), ((0, -10, "middle"), (0, 20, "middle"))[place])
            lines.append(text(_x(size) + across, _y(tar) + down, bits, 11, anchor, colour))
        lines.append(text(_WIDTH - _RIGHT, 24 + 18 * place, network, 13, "end", colour))
    title = "Bytes of two MobileFaceNets at several bits, and their TAR at FAR 1e-4"
    return document(_WIDTH, _HEIGHT, title, lines)
