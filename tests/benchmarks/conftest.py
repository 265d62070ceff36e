"""The path that `python benchmarks/NAME.py` has."""

import sys
from pathlib import Path

# At the end: names of scripts are plain words, which other packages may have too.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
