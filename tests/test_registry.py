"""Names of our own things and of other packages', installed for real in a folder on the path."""

import sys
from pathlib import Path

import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.registry import Registry
from support.extension import install

RED = '[project.entry-points."bitface.colours"]\nred = "others_of_bitface:Red"\n'


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
    install(tmp_path, "class Red: pass\n", RED)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(colours) == ["green", "blue", "red"]
    assert "others_of_bitface" not in sys.modules  # until it is asked for
    assert colours["red"].__name__ == "Red"
    sys.modules.pop("others_of_bitface")


def test_a_package_comes_and_goes(colours: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "red" not in colours
    install(tmp_path, "class Red: pass\n", RED)
    with monkeypatch.context() as path:
        path.syspath_prepend(tmp_path)
        assert "red" not in colours  # it was looked for already
        colours.refresh()
        assert colours["red"].__name__ == "Red"
    sys.modules.pop("others_of_bitface")
    colours.refresh()
    assert list(colours) == ["green", "blue"]
    assert colours["green"] is int


def test_our_own_names_are_ours(colours: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "class Red: pass\n", RED.replace("red =", "green ="))
    monkeypatch.syspath_prepend(tmp_path)
    assert colours["green"] is int
    colours.refresh()
    assert colours["green"] is int


def test_a_broken_package_ends_in_one_line(
    colours: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "import no_such_module_at_all\n", RED)
    monkeypatch.syspath_prepend(tmp_path)
    assert colours["green"] is int
    with pytest.raises(BitfaceError, match="the colour 'red' of others-of-bitface can't be imported"):
        colours["red"]
