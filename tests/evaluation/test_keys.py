"""Key files: made once, their owner's alone, and read or refused in a line."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from bitface.errors import BitfaceError
from bitface.evaluation.keys import GalleryKey, read_key, write_key


def test_a_key_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "gallery.key"
    write_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = read_key(path)
    assert (key.secret.hex() + "\n", key.warning) == (path.read_text(), None)
    assert key.secret.hex() not in repr(key)
    with pytest.raises(BitfaceError, match=r"gallery\.key: is there already"):
        write_key(path)
    path.chmod(0o644)
    assert read_key(path).warning == f"{path}: others than its owner may read it (mode 644); chmod 600 {path}"


@pytest.mark.parametrize("content", [b"", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64, b"00" * 32 + b"\n\n00"])
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gallery.key"
    path.write_bytes(content)
    with pytest.raises(BitfaceError, match=r"no key \(one line of 64 hexadecimal digits\); bitface key FILE") as caught:
        read_key(path)
    assert "00" not in str(caught.value).replace(str(path), "")


def test_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match=r"can't be read \(No such file or directory\); bitface key"):
        read_key(tmp_path / "no.key")
    with pytest.raises(BitfaceError, match="can't be written"):
        write_key(tmp_path / "no" / "gallery.key")


def test_each_use_has_a_key_of_its_own() -> None:
    key = GalleryKey(b"k" * 32)
    assert key.derived("a", b"salt") == hmac.new(b"k" * 32, b"a\0salt", hashlib.sha256).digest()
    keys = {key.derived(*use) for use in (("a", b"1"), ("a", b"2"), ("b", b"1"))} | {
        GalleryKey(b"l" * 32).derived("a", b"1")
    }
    assert len(keys) == 4
