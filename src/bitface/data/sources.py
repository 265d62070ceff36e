"""Where faces come from: folders, generators of people who don't exist, or nothing but the teacher.

A source is a word: a folder, a shard (`.tar`, `.zip`), `synthetic[:N]`, `generator:FILE[:N]` or `none[:N]`. What has
to be made is made once and kept in the cache as a folder of PNG files with a manifest, like the one of a folder that
`bitface synth` wrote.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitface.data.distilled import STEPS, distilled_faces, version
from bitface.data.faces import Progress, manifest_hash
from bitface.data.shards import is_shard, unpacked
from bitface.data.synthetic import SyntheticFaces, make_faces, write_faces
from bitface.errors import BitfaceError, UsageError
from bitface.files import sha256_of
from bitface.graph import Network
from bitface.store import Store

REAL = "real or unknown"
DISTILLED = "none (images distilled from the teacher)"
MANIFEST = "manifest.json"

_WORD = re.compile(r"(synthetic|none|generator:.+?)(?::(\d{1,7}))?")
_DEFAULT = {"synthetic": 2000, "generator": 2000, "none": 512}


@dataclass(frozen=True)
class Source:
    """`kind` is folder, shard, synthetic, generator or none; `path` is that of the folder or the file."""

    kind: str
    path: Path | None = None
    count: int = 0

    @staticmethod
    def parse(word: str | Path) -> "Source":
        """A source from its word; whatever isn't one of the others is a folder.

        Raises:
            UsageError: no faces are asked for.
        """
        match = _WORD.fullmatch(str(word))
        if not match:
            return Source("shard" if is_shard(Path(word)) else "folder", Path(word))
        kind, _, file = match[1].partition(":")
        count = int(match[2] or _DEFAULT[kind])
        if count < 1:
            raise UsageError(f"'{word}' asks for no faces: give a number from 1 on")
        return Source(kind, Path(file) if file else None, count)


def make(
    source: Source,
    seed: int = 0,
    network: Network | None = None,
    truncation: float = 1.0,
    progress: Progress | None = None,
) -> SyntheticFaces:
    """The faces of a source that has to be made.

    Args:
        network: the teacher, for `none`.
        truncation: of a generator's latents; 1 draws them as they come.

    Raises:
        UsageError: `none` without a teacher.
        BitfaceError: see `synthetic.make_faces` and `distilled.distilled_faces`.
    """
    if source.kind == "none":
        if network is None:
            raise UsageError("'none' makes images from a teacher: name the network")
        teacher = network.fingerprint()
        # Finished batches stay, so that stopping loses little and asking for more begins with them.
        batches = Store().path("faces", f".distilled-{teacher[:16]}-{version()}-{seed}")
        images = distilled_faces(network, source.count, seed, batches, progress)
        manifest = {
            "kind": DISTILLED, "seed": seed, "teacher": teacher, "steps": STEPS, "kept": len(images),
            "faces_sha256": manifest_hash(images),
        }  # fmt: skip
        return SyntheticFaces(images, manifest)
    return make_faces(source.count, seed, generator=source.path, truncation=truncation, progress=progress)


def cached(source: Source, seed: int = 0, network: Network | None = None, progress: Progress | None = None) -> Path:
    """The folder of a source: itself, or made at the first call and kept. Arguments and errors as `make`."""
    if source.kind == "folder":
        assert source.path is not None
        return source.path
    if source.kind == "shard":
        assert source.path is not None
        return unpacked(source.path)
    name = "dcgan"
    if source.kind == "none" and network is not None:
        name = f"distilled-{network.fingerprint()[:16]}-{version()}"
    elif source.path is not None:
        name = f"generator-{_hash_of(source.path)[:16]}"
    folder = Store().path("faces", f"{name}-{source.count}-{seed}")
    if not (folder / MANIFEST).is_file():
        made = make(source, seed, network, progress=progress)
        try:
            write_faces(folder, made.images, made.manifest)
        except BitfaceError:
            # Another process that made the same faces meanwhile was quicker.
            if not (folder / MANIFEST).is_file():
                raise
    return folder


def kind_of(folder: Path, files: int) -> str:
    """What is known of the faces of a folder: what its manifest says, if that is of as many files; or nothing."""
    try:
        manifest: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        kind, kept = manifest["kind"], manifest["kept"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return REAL
    return kind if isinstance(kind, str) and kept == files else REAL


def _hash_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error}); 'generator:' names a file") from error
