"""Where networks run and what they are written as: engines and export formats, a file for each behind one registry.

In comes a network with its integers (or in float); out goes what a target reads (`write.write`), or embeddings
(`start.start`). Everybody else asks `TARGETS` instead of knowing names.
"""

from bitface.targets.base import Holds, Run, Settings, Target
from bitface.targets.registry import DEFAULTS, FASTEST, TARGETS, runs_here, title_of, written

__all__ = [
    "DEFAULTS",
    "FASTEST",
    "TARGETS",
    "Holds",
    "Run",
    "Settings",
    "Target",
    "runs_here",
    "title_of",
    "written",
]
