"""Numbers as a reader wants them. None and numbers that are not finite become a dash."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from numbers import Real
from typing import Any

DASH = "–"
_SPACE = "\N{NO-BREAK SPACE}"
_MOST_EXTRA_DECIMALS = 3


def missing(value: Any) -> bool:
    """Whether there is no number to show: None, something else than a number, NaN or infinite."""
    return isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value)


def significant(value: float, digits: int = 3) -> str:
    """A number rounded to so many significant digits, without an exponent, with commas between thousands."""
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"


def count(value: Any) -> str:
    """A whole number with commas: 1,234,567."""
    return DASH if missing(value) else f"{value:,.0f}"


def size(value: Any) -> str:
    """Bytes in decimal units: 1.23 MB."""
    if missing(value):
        return DASH
    if abs(value) < 1000:
        return f"{value:.0f}{_SPACE}B"
    divisor, unit = size_unit(value)
    return f"{significant(value / divisor)}{_SPACE}{unit}"


def size_unit(value: float) -> tuple[float, str]:
    """How many bytes the unit has in which a size is written, and its name."""
    return _step(value, ("B", "kB", "MB", "GB", "TB"))


def amount(value: Any) -> str:
    """A large count to three digits: 4.21 M."""
    if missing(value) or abs(value) < 1000:
        return count(value)
    divisor, unit = _step(value, ("", "k", "M", "G", "T"))
    return f"{significant(value / divisor)}{_SPACE}{unit}"


def _step(value: float, units: Sequence[str]) -> tuple[float, str]:
    """Rounded before the unit is chosen: 999,999 bytes are 1.00 MB, not 1,000 kB."""
    scaled, divisor, place = abs(float(f"{value:.2e}")), 1.0, 0
    while scaled >= 1000 and place + 1 < len(units):
        scaled, divisor, place = scaled / 1000, divisor * 1000, place + 1
    return divisor, units[place]


def _fixed(values: Sequence[float], decimals: int, whole: float) -> list[str]:
    """Numbers with a common count of decimals, raised where one would read as 0 or as `whole` and isn't.

    99.997 % must not read as 100.00 %: the difference is what the reader came for.
    """
    ends = (0.0, whole)
    for more in range(_MOST_EXTRA_DECIMALS + 1):
        texts = [f"{value:.{decimals + more}f}" for value in values]
        if all(value in ends or float(text) not in ends for value, text in zip(values, texts, strict=True)):
            break
    return texts


def percent(value: Any, decimals: int = 2) -> str:
    """A share as a percentage: 0.9953 is 99.53 %."""
    return DASH if missing(value) else f"{_fixed([100 * value], decimals, 100)[0]}{_SPACE}%"


def unit(value: Any) -> str:
    """A number between 0 and 1, such as a cosine or an AUC, with at least four decimals."""
    return DASH if missing(value) else _fixed([value], 4, 1)[0]


def spread(mean: Any, std: Any) -> str:
    """Mean and standard deviation of a share: 99.53 ± 0.31 %."""
    if missing(mean) or missing(std):
        return percent(mean)
    return f"{_fixed([100 * mean], 2, 100)[0]}{_SPACE}±{_SPACE}{100 * std:.2f}{_SPACE}%"


def interval(value: Mapping[str, Any] | None) -> str:
    """An interval of a share, from its `low` and `high`: 99.13–99.80 %."""
    if not value or missing(value.get("low")) or missing(value.get("high")):
        return ""
    low, high = _fixed([100 * value["low"], 100 * value["high"]], 2, 100)
    return f"{low}–{high}{_SPACE}%"


def far(value: Any) -> str:
    """A false accept rate as it is typed on the command line: 1e-4."""
    if missing(value):
        return DASH
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def milliseconds(value: Any, digits: int = 3) -> str:
    """Milliseconds with so many significant digits: 3.21 ms."""
    return DASH if missing(value) else f"{significant(value, digits)}{_SPACE}ms"


def number(value: Any) -> str:
    """Three significant digits."""
    return DASH if missing(value) else significant(value)


def ratio(value: Any) -> str:
    """A ratio: 2.31×."""
    return DASH if missing(value) else f"{significant(value)}×"


def duration(value: Any) -> str:
    """Seconds in the units of a clock: 0.42 s, 2 min 05 s, 1 h 02 min."""
    if missing(value):
        return DASH
    if value < 59.95:
        return f"{significant(value) if value < 10 else f'{value:.1f}'}{_SPACE}s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min{_SPACE}{seconds:02d}{_SPACE}s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours}{_SPACE}h{_SPACE}{minutes:02d}{_SPACE}min"


def date(value: Any) -> str:
    """An ISO date in readable form, to the minute; anything else as it is."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    if len(str(value)) <= len("2000-01-01"):
        return moment.strftime("%Y-%m-%d")
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def plain(value: Any) -> str:
    """Any JSON value in words: yes and no, lists with commas, mappings as `key: value`."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else DASH
    if isinstance(value, Mapping):
        return ", ".join(f"{label(key)}: {plain(item)}" for key, item in value.items()) or DASH
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(plain, value)) or DASH
    return str(value)


def label(key: Any) -> str:
    """A key as a label: underscores become spaces."""
    return str(key).replace("_", " ")
