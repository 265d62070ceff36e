"""A budget as a person writes it: 400KB, 3.5bits, 2.1ms."""

import re
from dataclasses import dataclass

from bitface.errors import UsageError, nearest

BYTES, BITS, TIME = "weight_bytes", "mean_bits", "milliseconds"
# Decimal, as the report writes sizes.
_UNITS = {
    "b": (BYTES, 1.0), "kb": (BYTES, 1e3), "mb": (BYTES, 1e6), "kib": (BYTES, 1024.0), "mib": (BYTES, 1024.0**2),
    "bits": (BITS, 1.0), "ms": (TIME, 1.0),
}  # fmt: skip
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """So much of what: bytes of all packed weights, mean bits of a weight, or milliseconds of one image."""

    word: str
    axis: str
    value: float

    @staticmethod
    def parse(word: str) -> "Budget":
        """Raises UsageError for anything but a number above 0 with a known unit."""
        match = _WRITTEN.fullmatch(word)
        number, unit = match.groups() if match else ("0", word)
        if unit.lower() not in _UNITS:
            raise UsageError(
                f"unknown unit '{unit}' of the budget '{word}'{nearest(unit, _UNITS)} (write 400KB, 1.2MB, 3.5bits or "
                "2.1ms)"
            )
        axis, factor = _UNITS[unit.lower()]
        if not float(number) > 0:
            raise UsageError(f"the budget '{word}' must be above 0")
        return Budget(word.strip(), axis, float(number) * factor)

    def label(self, value: float, largest: float) -> str:
        """A value of the same kind as file names write it, so that they sort."""
        if self.axis == BYTES:
            return f"{value / 1e3:04.0f}KB" if largest > 1e5 else f"{value / 1e3:06.2f}KB"
        return f"{value:.2f}bits" if self.axis == BITS else f"{value:06.3f}ms"

    def said(self, value: float) -> str:
        """A value of the same kind in a message."""
        if self.axis == BYTES:
            return f"{value:,.0f} bytes"
        return f"{value:.3g} bits" if self.axis == BITS else f"{value:.3g} ms"
