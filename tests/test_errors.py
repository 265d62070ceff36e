"""How messages call what the reader can change."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import bitface as bf
from bitface.cli.app import app
from bitface.errors import flag, missing, on_command_line, one_line, option, setting


def test_options_are_called_as_the_reader_types_them() -> None:
    in_python = [option("max-images"), option("size", 160), option("protocol", "FILE.yaml"), flag("allow-skipped")]
    assert in_python == ["max_images=", "size=160", "protocol='FILE.yaml'", "allow_skipped=True"]
    with on_command_line({"max-images", "size", "protocol", "allow-skipped"}):
        typed = [option("max-images"), option("size", 160), option("protocol", "FILE.yaml"), flag("allow-skipped")]
    assert typed == ["--max-images", "--size 160", "--protocol FILE.yaml", "--allow-skipped"]
    with on_command_line({"out"}):  # as the file has it that the command reads
        written = [option("max-images"), option("size", 160), flag("allow-skipped"), setting("batch")]
    assert written == ["'max_images'", "'size: 160'", "'allow_skipped: true'", "'batch'"]
    assert option("size") == "size="


def test_one_refusal_in_both_words(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b,same\n")
    result = CliRunner().invoke(app, ["evaluate", "model.bitface", "--pairs", str(tmp_path / "pairs.csv")])
    assert "a list of pairs needs --root, the folder" in str(result.exception)
    with pytest.raises(bf.UsageError, match="a list of pairs needs root=, the folder"):
        bf.pairs(tmp_path / "pairs.csv")


def test_what_making_networks_needs_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ModuleNotFoundError("No module named 'torch'", name="torch.fx")
    assert missing(absent) is None
    monkeypatch.setattr("bitface.errors.find_spec", lambda _: None)
    assert str(missing(absent)) == "this needs torch, which isn't installed: pip install 'bitface[quantize]'"
    assert missing(ModuleNotFoundError("No module named 'bitface.none'", name="bitface.none")) is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("wrong size\nof all"), "wrong size"),
        (ValueError("\n  late"), "late"),
        (MemoryError(), "MemoryError"),
        ("no 'graph'", "no 'graph'"),
        # OpenVINO begins with places in its own source.
        (
            RuntimeError("Exception from src/core.cpp:105:\nException from src/x.cpp:1:\nUnable to read"),
            "Unable to read",
        ),
        (
            RuntimeError("Exception from src/core.cpp:105:\nCheck 'a == b' failed at src/x.cpp:18:\nno such op\n"),
            "no such op",
        ),
        (RuntimeError("Exception from src/core.cpp:105:\n"), "RuntimeError"),
    ],
)
def test_one_line_of_an_error_says_something(error: Exception | str, line: str) -> None:
    assert one_line(error) == line
