"""What is printed can't steer a terminal, whoever called a file what."""

import io
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from bitface.cli import main
from bitface.store import Store
from bitface.terminal import Terminal, escaped

NASTY = ("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\u202egpj.exe", "\u2066x\u2069", "\x00", "\x7f", "\udcff")


def printed(*things: object) -> str:
    terminal = Terminal()
    terminal.file = io.StringIO()
    for thing in things:
        terminal.print(thing)
    return terminal.file.getvalue()


def test_words_stay_as_they_are() -> None:
    text = "Zoë, 李, 🙂, [b]x[/b] :smile: [/]\tπ\n"
    assert escaped(text) == text
    assert printed(text.strip("\n")).split() == text.split()


def test_control_characters_are_written_out() -> None:
    assert escaped("\x1b[2J") == "\\x1b[2J"
    assert escaped("\u202e") == "\\u202e"
    assert escaped(os.fsdecode(b"a\xff")) == "a\\xff"
    for code in range(0x110000):
        text = escaped(chr(code))
        unseen = unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp") and chr(code) not in "\t\n"
        turns = unicodedata.bidirectional(chr(code)) in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"
        )  # fmt: skip
        if unseen or turns:
            assert text.isascii(), hex(code)
            assert text.isprintable(), hex(code)


@pytest.mark.parametrize("word", NASTY)
def test_texts_tables_and_titles(word: str) -> None:
    table = Table(title=word)
    table.add_column(word)
    table.add_row(word)
    table.add_row(Text(word))
    text = printed(word, Text(word), table, Path(word.replace("\0", "\x01")), f"[bold]{word}[/bold]")
    text.encode()
    assert not [letter for letter in text if letter != "\n" and not letter.isprintable()]


@pytest.mark.parametrize(
    "arguments", [["\x1b[2J"], ["cache", "\x1b[2J"], ["bench", "net.onnx", "--size", "\x1b[2J"], ["--\x1b[2J"]]
)
def test_complaints_about_what_was_typed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["bitface", *arguments])
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path))
    with pytest.raises(SystemExit) as ending:
        main()
    text = "".join(capsys.readouterr())
    assert ending.value.code == 2
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_an_error_of_another_library_is_no_complaint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fixed(Exception):
        message = property(lambda self: "whatever")

    def fail(*_: object) -> None:
        raise Fixed("it fails")

    monkeypatch.setattr(Store, "contents", fail)
    monkeypatch.setattr(sys, "argv", ["bitface", "cache"])
    with pytest.raises(SystemExit):
        main()
    assert "unexpected Fixed: it fails" in capsys.readouterr().err
