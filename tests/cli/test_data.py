"""`bitface data`"""

import json
import sys
from pathlib import Path

import pytest

from bitface.cli import main
from support.packed_sets import crops, jpeg, write_rec

IMAGES = [jpeg(image) for image in crops(6)]


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["bitface", "data", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    text = capsys.readouterr()
    assert stop.value.code in (0, None), text.err
    return text.out


def test_from_a_damaged_set_to_a_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    word = f"rec:{write_rec(tmp_path / 'set', [*IMAGES, IMAGES[0], b'none'], [0, 0, 1, 1, 2, 2, 1, 2])}"
    text = said(capsys, monkeypatch, "info", word, "--json", tmp_path / "info.json")
    assert json.loads((tmp_path / "info.json").read_text())[word]["identities"] == 3
    assert max(map(len, text.splitlines())) <= 80
    text = said(capsys, monkeypatch, "check", word, "--workers", 0, "--json", tmp_path / "check.json")
    assert "000000000.jpg and 000000006.jpg are copies of two people" in text
    assert "000000007.jpg: not an image" in text
    found = json.loads((tmp_path / "check.json").read_text())[word]
    assert (len(found["damaged"]), len(found["identical"]), len(found["near"])) == (1, 1, 0)
    out = f"rec:{tmp_path / 'out'}"
    text = said(capsys, monkeypatch, "pack", word, "--out", out, "--allow-skipped", "--workers", 0)
    assert text.startswith(f"{out}: 7 images of 3 identities")
    assert "?" not in said(capsys, monkeypatch, "info", out)


def test_a_set_without_damage_is_packed_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    word, out = f"rec:{write_rec(tmp_path / 'set', IMAGES[:3], [0, 0, 1])}", f"rec:{tmp_path / 'out'}"
    assert said(capsys, monkeypatch, "pack", word, "--out", out, "--workers", 0).startswith(f"{out}: 3 images of 2")
