"""The drawings of `docs/concepts.md`, as SVG: schemes, which show no measured figure."""

import math

_FONT = 'font-family="system-ui, sans-serif"'
_INK, _SOFT, _BLUE, _ORANGE, _PAPER = "#222222", "#777777", "#1565c0", "#c75000", "#ffffff"


def text(x: float, y: float, words: str, size: int = 13, anchor: str = "middle", colour: str = _INK) -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}" {_FONT}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{words}</text>'


def document(width: int, height: int, title: str, lines: list[str]) -> str:
    """An SVG document on white paper, so that it can be read on dark pages, too."""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{height}" rx="6" fill="{_PAPER}"/>',
    ]
    return "\n".join([*head, *lines, "</svg>", ""])


def _box(x: float, y: float, words: str, below: str, colour: str = _BLUE) -> list[str]:
    frame = f'<rect x="{x}" y="{y}" width="128" height="56" rx="6" fill="#f4f7fb" stroke="{colour}"/>'
    return [frame, text(x + 64, y + 24, words, 14), text(x + 64, y + 43, below, 11, colour=_SOFT)]


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    angle = math.atan2(to_y - y, to_x - x)
    wings = [(to_x - 8 * math.cos(angle + turn), to_y - 8 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
    head = " ".join(f"{one:.1f},{other:.1f}" for one, other in [(to_x, to_y), *wings])
    line = f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="{_SOFT}" stroke-width="1.5"/>'
    return f'{line}<polygon points="{head}" fill="{_SOFT}"/>'


def way() -> str:
    """From a network and faces to what runs, and to the proof."""
    lines = [
        *_box(16, 28, "teacher", "a float network"), *_box(16, 124, "faces", "real, made, or none", _ORANGE),
        *_box(216, 76, "student", "quantizers, ranges"), *_box(416, 28, "artifact", "packed integers"),
        *_box(416, 124, "evaluation", "who is recognised", _ORANGE), *_box(616, 28, "engines, devices", "files, C"),
        *_box(616, 124, "report", "what it cost", _ORANGE),
        _arrow(144, 56, 214, 92), _arrow(144, 152, 214, 116), _arrow(344, 92, 414, 56), _arrow(480, 84, 480, 122),
        _arrow(544, 56, 614, 56), _arrow(544, 152, 614, 152),
    ]  # fmt: skip
    return document(760, 208, "The way of the data", lines)


def rounding() -> str:
    """Eight levels of three bits on the line of real values."""
    left, step = 120.0, 64.0
    lines = [
        f'<line x1="24" x2="736" y1="84" y2="84" stroke="{_SOFT}"/>',
        text(24, 34, "3 bits: 8 levels", 15, "start"),
    ]
    for level in range(8):
        x = left + level * step
        lines.append(f'<line x1="{x}" x2="{x}" y1="72" y2="96" stroke="{_BLUE}" stroke-width="2"/>')
        lines.append(text(x, 116, f"q = {level}", 12, colour=_BLUE))
    lines += [
        _arrow(left + 2.4 * step, 60, left + 2 * step, 70), text(left + 2.4 * step, 54, "x is rounded", 12),
        _arrow(720, 60, left + 7 * step + 4, 72), text(690, 54, "x is clipped", 12, colour=_ORANGE),
        text(left + 2 * step, 142, "zero point: q = 3 stands for 0", 12, colour=_SOFT),
        text(left + 6 * step, 142, "scale: from one level to the next", 12, colour=_SOFT),
    ]  # fmt: skip
    return document(760, 160, "What rounding is", lines)


def threshold() -> str:
    """Similarities of strangers and of one person, and the threshold between them."""

    def curve(middle: float, width: float, height: float) -> list[tuple[float, float]]:
        return [
            (x, 170 - height * math.exp(-(((x - middle) / width) ** 2) / 2))
            for x in range(round(middle - 4 * width), round(middle + 4 * width) + 1, 4)
        ]

    def area(points: list[tuple[float, float]], colour: str, opacity: float) -> str:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(points[0][0], 170), *points, (points[-1][0], 170)])
        return f'<polygon points="{path}" fill="{colour}" fill-opacity="{opacity}"/>'

    strangers, genuine, cut = curve(260, 62, 118), curve(500, 52, 118), 388
    lines = [area(strangers, _ORANGE, 0.25), area(genuine, _BLUE, 0.25)]
    lines += [area([point for point in strangers if point[0] >= cut], _ORANGE, 0.9)]
    lines += [area([point for point in genuine if point[0] <= cut], _BLUE, 0.9)]
    lines += [
        f'<line x1="24" x2="736" y1="170" y2="170" stroke="{_SOFT}"/>',
        f'<line x1="{cut}" x2="{cut}" y1="34" y2="170" stroke="{_INK}" stroke-width="1.5" stroke-dasharray="5 4"/>',
        text(cut, 26, "threshold"), text(210, 44, "strangers", 14, colour=_ORANGE),
        text(556, 44, "one person", 14, colour=_BLUE), text(730, 190, "similarity (cosine)", 12, "end", _SOFT),
        text(cut + 8, 206, "false accepts: FAR", 12, "start", _ORANGE),
        text(cut - 8, 206, "false rejects: 1 - TAR", 12, "end", _BLUE),
    ]  # fmt: skip
    return document(760, 220, "What a threshold is", lines)


DRAWINGS = {"way": way, "rounding": rounding, "threshold": threshold}
