"""`bitface gallery`: what a gallery file holds; people leave it, and it gets another key."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitface.errors import UsageError, flag, option
from bitface.evaluation.gallery import Gallery
from bitface.evaluation.gallery_file import GalleryFile, read_gallery, write_gallery
from bitface.evaluation.keys import GalleryKey, read_key
from bitface.files import path_fields
from bitface.results.locks import Replacement, holding_file


@dataclass(frozen=True)
class Enrolment:
    """Where a new gallery goes, encrypted by a key (None: it isn't), and turned by it where it is `renewable`."""

    file: GalleryFile
    secret: GalleryKey | None
    renewable: bool
    replacement: Replacement

    @staticmethod
    def of(out: Path, key: Path | None, renewable: bool, again: bool = False) -> "Enrolment":
        """Args:
            again: the gallery that is there is read for it.

        Raises:
            UsageError: there is nothing to turn it by.
            BitfaceError: the key or the gallery can't be read.
        """
        if renewable and key is None:
            raise UsageError(
                f"{flag('renewable')} turns embeddings by a key; name its file ({option('key-file', 'FILE')})"
            )
        file = GalleryFile(out, key)
        replacement = Replacement.of_read(out, "enroll") if again else Replacement(out, "enroll")
        return Enrolment(file, file.secret(), renewable, replacement)

    def write(self, gallery: Gallery) -> dict[str, Any]:
        """Writes the file, and says what it holds.

        Raises:
            BitfaceError: it can't be written, or was another when it was read.
        """
        if self.renewable and self.secret:
            gallery = gallery.turned(self.secret)
        with self.replacement.writing():
            write_gallery(self.file.path, gallery, self.secret)
        return _facts(self.file.path, gallery, self.secret)

    def exposed(self) -> list[str]:
        """A warning for each file that others than its owner can read."""
        return self.file.exposed(self.secret)


def _facts(path: Path, gallery: Gallery, key: GalleryKey | None) -> dict[str, Any]:
    """What a gallery file holds, without a name."""
    return {
        "gallery": str(path),
        "images": len(gallery),
        "people": len(set(gallery.ids)),
        "precision": gallery.precision,
        "encrypted": key is not None,
        "renewable": gallery.rotation is not None,
        "bytes": path.stat().st_size,
        "fingerprint": gallery.fingerprint,
        "engine": gallery.engine,
    }


@dataclass(frozen=True)
@path_fields
class GalleryRequest:
    """What to do with a gallery; the options of `bitface gallery`.

    Attributes:
        gallery: the file.
        key: the file of the key that it is encrypted by.
        new_key: encrypts it by the key in this file from now on; where its embeddings are turned, they are turned anew,
            so that the old file, and whoever has the old key, can't be linked to it.
        remove: people who leave it.
    """

    gallery: Path
    key: Path | None = None
    new_key: Path | None = None
    remove: tuple[str, ...] = ()


def change_gallery(request: GalleryRequest) -> dict[str, Any]:
    """Removes people from a gallery and changes its key, where that is asked, and says what it holds.

    The new file takes the old one's place and holds nothing of who left. Whether the disk keeps the old file's blocks
    for a while is the disk's affair: nobody reads an encrypted file's without its key.

    Raises:
        BitfaceError, UsageError: the gallery or a key can't be read or written, somebody isn't in it, or nobody would
            be left; the file stays as it was.
    """
    file = GalleryFile(request.gallery, request.key)
    path = file.path
    key = file.secret()
    if not (request.remove or request.new_key):
        gallery, removed = read_gallery(path, key), 0
    else:
        with holding_file(path, "gallery"):
            before = read_gallery(path, key)
            gallery = before.without(request.remove) if request.remove else before
            new = read_key(request.new_key) if request.new_key else key
            if request.new_key and new and gallery.rotation is not None:
                gallery = gallery.turned(new, key)
            write_gallery(path, gallery, new)
            key, removed = new, len(before) - len(gallery)
    return {
        **_facts(path, gallery, key),
        "removed_images": removed,
        "preprocess": gallery.preprocess,
        "flip": gallery.flip,
        "warnings": file.exposed(key),
    }
