"""Test images through a model: what every evaluation begins with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.faces import FaceFile, check_skipped, load_faces
from bitface.errors import BitfaceError
from bitface.evaluation.protocols.base import Embeddings
from bitface.files import write_json
from bitface.graph import FreeSize
from bitface.inputs.faces import open_for, settle_preprocess
from bitface.preprocess import Size
from bitface.runtime import Embedder, Model
from bitface.runtime.engine_differences import FACES, engine_differences
from bitface.runtime.exact import inexact, passed_over
from bitface.store import key_of

Progress = Callable[[int, int], None]
_RANKED = 48
# Images between two notes of how far an embedding has come.
_KEPT_EVERY = 4096


@dataclass(frozen=True)
class Prepared:
    """A model ready to embed, and what is to be said about how its size and its preprocessing were settled."""

    embedder: Embedder
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def thresholds(self) -> list[tuple[float, float]]:
        """Those in the artifact, as (the FAR that each is for, threshold)."""
        details = self.embedder.model.details
        return [(float(one["far"]), float(one["threshold"])) for one in details.thresholds] if details else []


def prepare(
    path: Path | Model,
    files: Sequence[FaceFile],
    engine: str | None = None,
    threads: int | None = None,
    preprocess: str | None = None,
    size: Size | None = None,
    like: FreeSize | None = None,
    output: str | None = None,
) -> Prepared:
    """Opens a model for these images. A float network's preprocessing is checked on some of them.

    Args:
        size, like, output: see `inputs.faces.open_for`.

    Raises:
        BitfaceError: the model can't be used, or its preprocessing can't be settled.
    """
    model, notes = open_for(path, files, preprocess, size, like, output)
    warnings = list(model.network.warnings)
    if not model.integer:
        step = max(1, len(files) // _RANKED)
        sample = load_faces(files[::step][:_RANKED], model.network.size).images
        network, more, alarms = settle_preprocess(model.network, sample, preprocess)
        notes += more
        warnings += alarms
        assert network.preprocess is not None
        model = model.with_preprocess(network.preprocess)
    embedder = Embedder(model, engine, threads)
    more, engine_warnings = about_engine(embedder, explicit=engine is not None)
    return Prepared(embedder, (*notes, *more), (*warnings, *engine_warnings))


def about_engine(embedder: Embedder, explicit: bool = False) -> tuple[list[str], list[str]]:
    """Notes and warnings: whether the engine is exact on this CPU, and that a faster one isn't.

    Args:
        explicit: somebody asked for this engine.
    """
    model, engine = embedder.model, embedder.engine
    notes = [] if explicit else [passed_over(model, engine)]
    return [text for text in notes if text], [text for text in [inexact(model, engine)] if text]


def differences(embedder: Embedder, files: Sequence[FaceFile]) -> dict[str, dict[str, Any]]:
    """See `engine_differences`; on some of the images."""
    sample = files[:: max(1, len(files) // FACES)][:FACES]
    return engine_differences(embedder, load_faces(sample, embedder.preprocess.size).images)


def embed(
    embedder: Embedder,
    files: Sequence[FaceFile],
    flip: bool = False,
    allow_skipped: bool = False,
    progress: Progress | None = None,
    watch: Callable[[np.ndarray], None] | None = None,
) -> tuple[Embeddings, list[tuple[str, str]]]:
    """The embeddings of images, and (path, reason) of those that can't be used.

    Raises:
        BitfaceError: not one image can be used, or more than 1 % can't (unless `allow_skipped`).
    """
    skipped: list[tuple[str, str]] = []
    values, valid = embedder.embed_files(files, flip, skipped, progress, watch)
    check_skipped(skipped, len(files), allow_skipped)
    return Embeddings(values, valid, embedder.fingerprint), skipped


def embed_kept(
    embedder: Embedder,
    files: Sequence[FaceFile],
    folder: Path,
    flip: bool = False,
    allow_skipped: bool = False,
    progress: Progress | None = None,
) -> tuple[Embeddings, list[tuple[str, str]]]:
    """As `embed`, kept in a folder: what is there is used, what was begun is gone on with.

    Kept by the model, the engine, `flip`, and path, size and time of every image. The array stays on disk
    (memory-mapped), so that a million embeddings take no memory.

    Raises:
        BitfaceError: as `embed`, or the folder can't be written.
    """
    key = _key(embedder, files, flip)
    path, notes = folder / f"{key}.npy", folder / f"{key}.json"
    shape = (len(files), embedder.embedding_size)
    state = _begun(path, notes, shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        values = np.lib.format.open_memmap(path, "r+" if state.done else "w+", np.float32, shape)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error
    while state.done < len(files):
        begin = state.done
        reasons: list[tuple[str, str]] = []
        report = (lambda count, _, begin=begin: progress(begin + count, len(files))) if progress else None
        rows, valid = embedder.embed_files(files[begin : begin + _KEPT_EVERY], flip, reasons, report)
        values[begin : begin + len(rows)] = rows
        values.flush()
        failed = [begin + int(row) for row in np.flatnonzero(~valid)]
        state = _Begun(begin + len(rows), [*state.failed, *failed], [*state.skipped, *reasons])
        write_json(notes, {**vars(state), "shape": list(shape)})
    check_skipped(state.skipped, len(files), allow_skipped)
    usable = np.ones(len(files), bool)
    usable[state.failed] = False
    return Embeddings(np.load(path, mmap_mode="r"), usable, embedder.fingerprint), state.skipped


@dataclass(frozen=True)
class _Begun:
    """How far an embedding has come: rows done, failed ones among them, and the reasons."""

    done: int
    failed: list[int]
    skipped: list[tuple[str, str]]


def _begun(path: Path, notes: Path, shape: tuple[int, int]) -> _Begun:
    """What is there already; nothing where anything doesn't fit."""
    try:
        content = json.loads(notes.read_text(encoding="utf-8"))
        values = np.load(path, mmap_mode="r")
        if values.shape == shape and values.dtype == np.float32 and content["shape"] == list(shape):
            skipped = [(str(one), str(why)) for one, why in content["skipped"]]
            return _Begun(int(content["done"]), [int(row) for row in content["failed"]], skipped)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never begun, or damaged: made again
    return _Begun(0, [], [])


def _key(embedder: Embedder, files: Sequence[FaceFile], flip: bool) -> str:
    settings = (embedder.fingerprint, embedder.engine, embedder.preprocess.name, flip, embedder.embedding_size)
    contents = []
    for file in files:
        try:
            status = file.path.stat()
            facts: object = (status.st_size, status.st_mtime_ns)
        except OSError:
            facts = None
        contents.append(repr((str(file.path.resolve()), facts)).encode("utf-8", "surrogateescape"))
    return key_of(settings, *contents)
