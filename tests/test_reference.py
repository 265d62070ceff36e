"""The reference pages of the site are made from the code: every command, every option, every public name."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import bitface
from bitface.cli.app import app


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    path = Path(__file__).parents[1] / "docs" / "site" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_and_option(reference: ModuleType) -> None:
    text = reference.commands()
    names = [one.name for one in app.registered_commands]
    assert {"quantize", "verify", "reproduce"} <= set(names)
    assert not [name for name in names if f"\n## bitface {name}\n" not in text]
    assert "## bitface data info" in text
    assert "| `--bits` | w8a8, w6a6, w4a4, w8a32, … or a plan file (.yaml);" in text
    assert "Exit codes: 0 done; 2 wrong use" in text
    assert "```sh\nbitface quantize net.onnx --images crops/ --bits w8a8 --out out/\n```" in text


def test_every_public_name(reference: ModuleType) -> None:
    text = reference.api()
    assert not [name for name in bitface.__all__ if not name.startswith("__") and f"\n## bf.{name}\n" not in text]
    assert "### Embedder.embed" in text
    assert "**Raises**" in text
    assert "Args:" not in text
    assert " at 0x" not in text


def test_long_signatures_have_a_line_for_each_parameter(reference: ModuleType) -> None:
    text = reference._one_a_line("f(a: dict[str, int] = {1: (2, 3)}, *, b: str) -> tuple[int, (str)]")
    assert text == "f(\n    a: dict[str, int] = {1: (2, 3)},\n    *,\n    b: str\n) -> tuple[int, (str)]"
    assert reference._one_a_line(f"f(a: int = {'1' * 80})") == "f(\n    a: int = …\n)"
