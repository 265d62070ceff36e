"""Headers of tar files, as `tarfile.open(…, tarinfo=PlainHeader)` reads them: names are words, not memory."""

import tarfile

# What stands before a member and says more of it, such as a long name.
_ABOUT = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_LONGEST = 1 << 20


class PlainHeader(tarfile.TarInfo):
    """A member's header, whose names and remarks the library would read into memory however long they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "PlainHeader":
        """Raises tarfile.ReadError for more than a megabyte of them."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in _ABOUT and header.size > _LONGEST:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header
