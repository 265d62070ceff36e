"""Encrypted files: a header, and the content as one message that can be read, or changed, with the key alone.

    16 bytes   `bitface sealed 1`
    32 bytes   salt: drawn for each write; with the key it gives the key of this file (`keys.GalleryKey.derived`)
    12 bytes   nonce: drawn for each write
    the rest   the content by ChaCha20-Poly1305 (RFC 8439), its tag of 16 bytes at the end

The header is authenticated, too. What a file tells without the key is how long it is.
"""

import secrets
from typing import TYPE_CHECKING

from bitface.errors import BitfaceError, flag
from bitface.evaluation.keys import GalleryKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"bitface sealed 1"
_SALT, _NONCE, _TAG = 32, 12, 16
_HEADER = len(MAGIC) + _SALT + _NONCE
_LARGEST = (1 << 31) - 1 - _TAG


def sealed(content: bytes, key: GalleryKey) -> bytes:
    """The content, encrypted; other bytes at every call.

    Raises:
        BitfaceError: it has more than 2 GB, or the package that encrypts isn't installed.
    """
    if len(content) > _LARGEST:
        raise BitfaceError(
            f"at most 2 GB can be encrypted at once, not {len(content):,} bytes; take {flag('int8')}, or divide it"
        )
    header = MAGIC + secrets.token_bytes(_SALT + _NONCE)
    return header + bytes(_cipher(header, key).encrypt(header[-_NONCE:], content, header))


def unsealed(content: bytes, key: GalleryKey) -> bytes:
    """What `sealed` was given.

    Raises:
        BitfaceError: the key is another one, or a byte was changed, or the package that decrypts isn't installed.
    """
    header = content[:_HEADER]
    cipher = _cipher(header, key)
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(cipher.decrypt(header[-_NONCE:], content[_HEADER:], header))
    except (InvalidTag, ValueError) as error:
        raise BitfaceError("the key is another one's, or the file was changed or cut off") from error


def _cipher(header: bytes, key: GalleryKey) -> "ChaCha20Poly1305":
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    except ImportError as error:
        raise BitfaceError(
            "encryption needs cryptography, which isn't installed: pip install 'bitface[encrypt]'"
        ) from error
    return ChaCha20Poly1305(key.derived("encryption", header[len(MAGIC) : len(MAGIC) + _SALT]))
