"""Names of our own things and of other packages', installed for real in a folder on the path."""

import sys
from pathlib import Path

import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.registry import Registry


def installed(folder: Path, module: str, points: str) -> None:
    """A package as an installer leaves it: its module, and its entry points beside it."""
    (folder / "others_of_bitface.py").write_text(module)
    about = folder / "others_of_bitface-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others-of-bitface\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(points)


@pytest.fixture
def colours() -> Registry[type]:
    registry: Registry[type] = Registry("colour", "bitface.colours")
    registry.register("green")(int)
    registry.register("blue")(float)
    return registry


def test_names_keep_their_order(colours: Registry[type]) -> None:
    assert list(colours) == ["green", "blue"]
    assert len(colours) == 2
    assert colours["blue"] is float
    assert "green" in colours
    assert "red" not in colours


def test_an_unknown_name_is_told_the_nearest_and_all(colours: Registry[type]) -> None:
    with pytest.raises(UsageError, match=r"unknown colour 'gren'; did you mean 'green'\? \(there are blue, green\)"):
        colours["gren"]


def test_a_name_is_given_once(colours: Registry[type]) -> None:
    colours.register("green")(int)  # a module that is imported again registers the same thing
    with pytest.raises(ValueError, match="two of the colour 'green'"):
        colours.register("green")(str)


def test_another_package_adds_one(colours: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "class Red: pass\n", "[bitface.colours]\nred = others_of_bitface:Red\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(colours) == ["green", "blue", "red"]
    assert "others_of_bitface" not in sys.modules  # until it is asked for
    assert colours["red"].__name__ == "Red"
    sys.modules.pop("others_of_bitface")


def test_a_broken_package_ends_in_one_line(
    colours: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "import no_such_module_at_all\n", "[bitface.colours]\nred = others_of_bitface:Red\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert colours["green"] is int
    with pytest.raises(BitfaceError, match="the colour 'red' of others-of-bitface can't be imported"):
        colours["red"]
