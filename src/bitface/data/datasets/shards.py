"""Images packed into one `.tar` or `.zip` file, as large sets are handed around (WebDataset among them)."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bitface.data.faces import EXTENSIONS
from bitface.data.sources import DATA_SETS, GivenFaces
from bitface.data.tar_headers import PlainHeader
from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.limits import check_content, largest_content
from bitface.store import Store

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
# Few images, each in a block of its own, are more than they take when they are packed.
_LITTLE = 64 << 20
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def is_shard(path: Path) -> bool:
    """Whether a path names a file that is read as a shard."""
    return path.name.lower().endswith(SUFFIXES) and not path.is_dir()


def unpacked(path: Path) -> Path:
    """The folder with the images of a shard, unpacked at the first call and kept in the cache by the file's hash.

    Only images are unpacked, below the folders they are packed in, and nothing but their content: modes, owners and
    times stay behind, links and everything else are left where they are.

    Raises:
        BitfaceError: the file can't be read, holds no image, one image twice, an image whose name leads out of the
            folder, or far more than it could (see `limits`).
    """

    def fill(temporary: Path) -> None:
        for name, content in _images(path):
            target = temporary.joinpath(*_inside(name).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(target, "xb") as file:
                    shutil.copyfileobj(content, file)
            except FileExistsError:
                raise BitfaceError(f"holds '{name}' twice; pack it again") from None
        if not any(temporary.iterdir()):
            raise BitfaceError(f"no image ({' '.join(EXTENSIONS)}) is packed in it")

    try:
        return Store().folder("shards", sha256_of(path)[:16], fill)
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error
    except OSError as error:
        raise BitfaceError(f"{path}: can't be unpacked ({error.strerror or error})") from error
    # A damaged archive fails in many ways, in the middle too.
    except (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError,
        NotImplementedError,
    ) as error:  # fmt: skip
        raise BitfaceError(f"{path}: is no whole .tar or .zip file ({error})") from error


def _images(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The names and contents of the packed images."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            packed = [info for info in archive.infolist() if info.filename.lower().endswith(EXTENSIONS)]
            # What a member says of its size is the most that is read of it.
            check_content(sum(info.file_size for info in packed), path.stat().st_size, _LITTLE)
            for info in packed:
                with archive.open(info) as content:
                    yield info.filename, content
        return
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        begin = file.peek(8)
        opened = next((way for magic, way in _PACKED.items() if begin.startswith(magic)), None)
        plain = stack.enter_context(opened(file)) if opened else file
        limited = _Limited(plain, path.stat().st_size)
        with tarfile.open(fileobj=limited, mode="r|", bufsize=1 << 20, tarinfo=PlainHeader) as tar:
            for member in tar:
                limited.room_for(member.size)  # a sparse one says more than it has
                if member.isfile() and member.name.lower().endswith(EXTENSIONS):
                    packed_image = tar.extractfile(member)
                    assert packed_image is not None
                    yield member.name, packed_image


class _Limited(io.RawIOBase):
    """What is read of a packed file, up to what it may become.

    Args:
        packed: the bytes of the file.
    """

    def __init__(self, stream: IO[bytes], packed: int) -> None:
        self._stream, self._packed, self._count = stream, packed, 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises TooLarge beyond that."""
        most = largest_content(self._packed, _LITTLE) - self._count
        content = self._stream.read(most + 1 if size is None or size < 0 else min(size, most + 1))
        self._count += len(content)
        self.room_for(0)
        return content

    def room_for(self, size: int) -> None:
        """Raises TooLarge where so many bytes more are too many."""
        check_content(self._count + size, self._packed, _LITTLE)


def _inside(name: str) -> PurePosixPath:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
        raise BitfaceError(f"'{name}' leads out of the folder it is unpacked to; pack it again")
    return parts


DATA_SETS.register("shard")(GivenFaces(fits=is_shard, folder=unpacked))
