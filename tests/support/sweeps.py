"""What the sweeps and searches of these tests have in common."""

from pathlib import Path
from typing import Any

from bitface.data.face_source import FaceSource
from bitface.search.sweep import SensitivityRequest

COMMON = ("--preprocess", "rgb-127.5-128", "--max-images", 12, "--held-out", 16)


def requested(net: Path, crops: Path, out: Path, **other: Any) -> SensitivityRequest:
    """The request of `COMMON`."""
    return SensitivityRequest(
        net, FaceSource([crops]), out, faces=16, calibration_faces=12, preprocess="rgb-127.5-128", **other
    )
