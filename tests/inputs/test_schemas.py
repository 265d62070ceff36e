from pathlib import Path

from bitface.files import json_text
from bitface.inputs.schemas import schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_published_schemas_are_current() -> None:
    """Where this fails: `python -m bitface.inputs.schemas docs/schemas`."""
    published = {
        path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if not path.name.startswith("result-")
    }
    assert published == {f"{name}.schema.json": json_text(schema) for name, schema in schemas().items()}
