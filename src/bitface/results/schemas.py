"""Writes the JSON schemas of all kinds of results: `python -m bitface.results.schemas docs/schemas`."""

import sys
from pathlib import Path

from bitface.files import write_json
from bitface.results.documents import KINDS


def write_schemas(folder: Path) -> None:
    """Writes `result-KIND.schema.json` for each kind."""
    for kind, result in KINDS.items():
        write_json(folder / f"result-{kind}.schema.json", result.json_schema())


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
