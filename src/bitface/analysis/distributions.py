"""Distributions of angles as plain data, small enough to be kept and drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_BINS = 60
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0)


def distributions(groups: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Each group of angles (degrees, NaN left out) over one common axis, whose bins have a round width.

    Returns:
        name → {count, mean, p05, median, p95, low, width, counts}; groups without a value are left out.
    """
    finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    if not finite:
        return {}
    lowest, highest = min(values.min() for values in finite.values()), max(values.max() for values in finite.values())
    # Axes begin at 0 unless everything is far from it, as angles between people are.
    lowest = 0.0 if lowest < highest / 2 else lowest
    width = next((step for step in _STEPS if (highest - lowest) / step <= _BINS), _STEPS[-1])
    low = np.floor(lowest / width) * width
    bins = int((highest - low) / width) + 1
    return {name: _distribution(values, float(low), width, bins) for name, values in finite.items()}


def _distribution(values: np.ndarray, low: float, width: float, bins: int) -> dict[str, Any]:
    places = np.clip(((values - low) / width).astype(np.int64), 0, bins - 1)
    p05, median, p95 = np.quantile(values, [0.05, 0.5, 0.95])
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "p05": float(p05),
        "median": float(median),
        "p95": float(p95),
        "low": low,
        "width": width,
        "counts": np.bincount(places, minlength=bins).tolist(),
    }
