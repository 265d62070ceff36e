"""JSON schemas of the configuration files, for editors: `python -m bitface.inputs.schemas docs/schemas` writes them."""

import sys
from pathlib import Path
from typing import Any

from bitface.config import schema_of
from bitface.files import json_text, write_bytes
from bitface.inputs.comparisons import ComparisonFile
from bitface.inputs.recipes import PretrainingFile, RecipeFile
from bitface.inputs.suites import SuiteFile
from bitface.quant.plan import PlanFile


def schemas() -> dict[str, dict[str, Any]]:
    """The name of a kind of file → its JSON schema."""
    kinds: dict[str, Any] = {
        "recipe": RecipeFile | PretrainingFile,
        "suite": SuiteFile,
        "plan": PlanFile,
        "comparison": ComparisonFile,
    }
    return {name: schema_of(kind, f"bitface {name}") for name, kind in kinds.items()}


def write_schemas(folder: Path) -> None:
    """Writes `NAME.schema.json` for each kind of file."""
    for name, schema in schemas().items():
        write_bytes(folder / f"{name}.schema.json", json_text(schema).encode())


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
