"""Keys of galleries: a file that its owner alone can read, and what is derived from it.

A key file is one line of 64 hexadecimal digits: 32 random bytes. They encrypt nothing themselves. Each use has a key of
its own, an HMAC-SHA256 of its purpose and of a salt that is drawn anew whenever it is written (the second step of HKDF,
RFC 5869, which is all that a uniformly random secret needs).
"""

import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from bitface.errors import BitfaceError
from bitface.files import readable_by_others, write_new

_BYTES = 32
_DIGITS = 2 * _BYTES


@dataclass(frozen=True)
class GalleryKey:
    """What a key file holds; `warning` says where others than its owner can read it."""

    secret: bytes = field(repr=False)
    warning: str | None = None

    def derived(self, purpose: str, salt: bytes) -> bytes:
        """32 bytes that nobody without the key can tell from random ones, others for each purpose and salt."""
        return hmac.digest(self.secret, purpose.encode() + b"\0" + salt, "sha256")


def read_key(path: Path) -> GalleryKey:
    """The key in a file.

    Raises:
        BitfaceError: the file can't be read, or holds no key; its content isn't in the message.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_DIGITS + 3)
        warning = readable_by_others(path)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror}); bitface key {path} makes a key") from error
    try:
        secret = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise BitfaceError(f"{path}: no key (one line of {_DIGITS} hexadecimal digits); bitface key FILE makes one")
    return GalleryKey(secret, warning)


def write_key(path: Path) -> None:
    """Draws a key and writes it into a new file that its owner alone can read.

    Raises:
        BitfaceError: the file is there already, so that galleries may need it, or can't be written.
    """
    try:
        write_new(path, f"{secrets.token_hex(_BYTES)}\n".encode("ascii"))
    except FileExistsError as error:
        raise BitfaceError(f"{path}: is there already, and galleries may need it; name another file") from error
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror}); choose another place") from error
