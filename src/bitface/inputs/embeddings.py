"""Test images through a model: what every evaluation begins with."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from bitface import ranks
from bitface.data.faces import FaceFile, check_skipped
from bitface.errors import BitfaceError
from bitface.evaluation.protocols.base import Embeddings
from bitface.files import write_json
from bitface.runtime import Embedder
from bitface.runtime.embedder import DECODED
from bitface.store import Form, RowsFile, Store, key_of

Progress = Callable[[int, int], None]
# Images between two notes of how far an embedding has come.
_KEPT_EVERY = 4096


def embed(
    embedder: Embedder,
    files: Sequence[FaceFile],
    flip: bool = False,
    allow_skipped: bool = False,
    progress: Progress | None = None,
    watch: Callable[[np.ndarray], None] | None = None,
) -> tuple[Embeddings, list[tuple[str, str]]]:
    """The embeddings of images, and (path, reason) of those that can't be used. Of several ranks each embeds its part.

    Args:
        watch: is shown the images of this rank, see `Embedder.embed_files`.

    Raises:
        BitfaceError: not one image can be used, or more than 1 % can't (unless `allow_skipped`).
    """
    values, valid, skipped = _embedded(embedder, files, flip, progress, watch)
    check_skipped(skipped, len(files), allow_skipped)
    return Embeddings(values, valid, embedder.fingerprint), skipped


def embed_kept(
    embedder: Embedder,
    files: Sequence[FaceFile],
    store: Store,
    flip: bool = False,
    allow_skipped: bool = False,
    progress: Progress | None = None,
) -> tuple[Embeddings, list[tuple[str, str]]]:
    """As `embed`, kept in a store: what is there is used, what was begun is gone on with.

    Kept by the model, the engine, `flip`, and path, size and time of every image. The array stays on disk
    (memory-mapped), so that a million embeddings take no memory.

    Raises:
        BitfaceError: as `embed`, or the store can't be written.
    """
    key, shape = _key(embedder, files, flip), (len(files), embedder.embedding_size)
    parts, folder = store.parts("embeddings", key), store.path("embeddings", key)

    def fill(folder: Path | None) -> None:
        rows = RowsFile(folder / _VALUES, shape) if folder else None
        valid, skipped = np.zeros(len(files), bool), []
        for begin in range(0, len(files), _KEPT_EVERY):
            end = min(begin + _KEPT_EVERY, len(files))
            part_progress = (lambda count, _, begin=begin: progress(begin + count, len(files))) if progress else None
            compute = partial(_embedded, embedder, files[begin:end], flip, part_progress)
            values, valid[begin:end], reasons = ranks.kept(parts, "parts", f"{begin}-{end}", _PART, compute)
            skipped += reasons
            if rows:
                rows.write(begin, values)
        if rows and folder:
            rows.close()
            write_json(folder / _SKIPPED, {"failed": np.flatnonzero(~valid).tolist(), "skipped": skipped})

    there = _is_whole(folder, shape)
    if not all(ranks.told(there)):
        try:
            if ranks.local() == 0 and not there:
                store.folder("embeddings", key, fill, lambda folder: _whole(folder, shape))
            else:  # another machine lacks it
                fill(None)
        except OSError as error:
            raise BitfaceError(f"{store.root}: can't be written ({error.strerror or error})") from error
        ranks.wait()
    if ranks.local() == 0:  # of a process, too, that was killed when all was there
        shutil.rmtree(parts.root, ignore_errors=True)
    values, valid, skipped = _whole(folder, shape)
    check_skipped(skipped, len(files), allow_skipped)
    return Embeddings(values, valid, embedder.fingerprint), skipped


_VALUES, _SKIPPED = "values.npy", "skipped.json"
Rows = tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]


def _embedded(
    embedder: Embedder,
    files: Sequence[FaceFile],
    flip: bool,
    progress: Progress | None,
    watch: Callable[[np.ndarray], None] | None = None,
) -> Rows:
    """Embeddings `[N, D]`, which of them are usable, and (path, reason) of the others; each rank embeds its part."""
    if ranks.count() > 1:
        names = key_of([file.relative for file in files])
        ranks.agree({"model": embedder.fingerprint, "engine": embedder.engine, "images": names})
    skipped: list[tuple[str, str]] = []
    own = embedder.embed_files(files[ranks.part(len(files), DECODED)], flip, skipped, progress, watch)
    values, valid = (ranks.joined_array(one, len(files), DECODED) for one in own)
    return values, valid, [one for part in ranks.told(skipped) for one in part]


def _read_part(path: Path) -> Rows:
    with safe_open(path, "np") as file:
        reasons = json.loads((file.metadata() or {})["skipped"])
        return file.get_tensor("values"), file.get_tensor("valid"), [(str(one), str(why)) for one, why in reasons]


def _write_part(part: Rows, path: Path) -> None:
    save_file({"values": part[0], "valid": part[1]}, path, {"skipped": json.dumps(part[2])})


_PART: Form[Rows] = Form(".safetensors", _read_part, _write_part)


def _is_whole(folder: Path, shape: tuple[int, int]) -> bool:
    try:
        _whole(folder, shape)
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return True


def _whole(folder: Path, shape: tuple[int, int]) -> Rows:
    """All embeddings, on disk; raises ValueError, KeyError, TypeError or OSError where they are damaged."""
    content = json.loads((folder / _SKIPPED).read_text(encoding="utf-8"))
    values, valid = np.load(folder / _VALUES, mmap_mode="r"), np.ones(shape[0], bool)
    if values.shape != shape or values.dtype != np.float32:
        raise ValueError("embeddings of something else")
    valid[[int(row) for row in content["failed"]]] = False
    return values, valid, [(str(one), str(why)) for one, why in content["skipped"]]


def _key(embedder: Embedder, files: Sequence[FaceFile], flip: bool) -> str:
    settings = (embedder.fingerprint, embedder.engine, embedder.preprocess.name, flip, embedder.embedding_size)
    return key_of(settings, *file_facts(files))


def file_facts(files: Sequence[FaceFile]) -> list[bytes]:
    """What of image files decides whether they are still the same: path, size and time, and where the face is cut out
    of a photograph.
    """
    facts = (file.facts() if file.landmarks is None else (file.facts(), file.landmarks) for file in files)
    return [repr(one).encode("utf-8", "surrogateescape") for one in facts]
