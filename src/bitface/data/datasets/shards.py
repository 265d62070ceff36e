"""Images packed into one `.tar` or `.zip` file, as large sets are handed around (WebDataset among them)."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from bitface.data.faces import EXTENSIONS
from bitface.data.sources import DATA_SETS, GivenFaces
from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.store import Store

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")


def is_shard(path: Path) -> bool:
    """Whether a path names a file that is read as a shard."""
    return path.name.lower().endswith(SUFFIXES) and not path.is_dir()


def unpacked(path: Path) -> Path:
    """The folder with the images of a shard, unpacked at the first call and kept in the cache by the file's hash.

    Only images are unpacked, below the folders they are packed in; links and everything else are left where they are.

    Raises:
        BitfaceError: the file can't be read, holds no image, or an image whose name leads out of the folder.
    """

    def fill(temporary: Path) -> None:
        for name, content in _images(path):
            target = temporary.joinpath(*_inside(path, name).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as file:
                shutil.copyfileobj(content, file)
        if not any(temporary.iterdir()):
            raise BitfaceError(f"{path}: no image ({' '.join(EXTENSIONS)}) is packed in it")

    try:
        return Store().folder("shards", sha256_of(path)[:16], fill)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be unpacked ({error.strerror or error})") from error
    # A damaged archive fails in many ways, in the middle too.
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise BitfaceError(f"{path}: is no whole .tar or .zip file ({error})") from error


def _images(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The names and contents of the packed images."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith(EXTENSIONS):
                    with archive.open(name) as content:
                        yield name, content
        return
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isfile() and member.name.lower().endswith(EXTENSIONS):
                packed = archive.extractfile(member)
                assert packed is not None
                yield member.name, packed


def _inside(path: Path, name: str) -> PurePosixPath:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
        raise BitfaceError(f"{path}: '{name}' leads out of the folder it is unpacked to; pack it again")
    return parts


DATA_SETS.register("shard")(GivenFaces(fits=is_shard, folder=unpacked))
