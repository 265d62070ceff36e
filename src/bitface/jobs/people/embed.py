"""`bitface embed`: images in, a file of embeddings out, a row for each; what was stopped goes on."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from bitface import ranks
from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile
from bitface.data.images import ImageSkipped
from bitface.errors import BitfaceError, option
from bitface.evaluation import unit_rows
from bitface.files import path_fields
from bitface.inputs.embeddings import file_facts
from bitface.inputs.faces import files_of
from bitface.inputs.models import Prepared, prepare
from bitface.inputs.photographs import ALL, LARGEST, FaceCrop, FaceWord, Photographs, face_word
from bitface.inputs.vector_files import Row, check_name, write_vectors
from bitface.preprocess import Size
from bitface.progress import Progress, Steps, silent
from bitface.results.locks import locked
from bitface.runtime import Embedder, open_model
from bitface.runtime.embedder import about_engine, unit_length
from bitface.store import Form, Store, key_of

# Images between two notes of how far it has come.
_KEPT_EVERY = 1024
_AT_ONCE = 64
_UNUSABLE = "the network gives no usable embedding"


@dataclass(frozen=True)
@path_fields
class EmbedRequest:
    """What to embed with what, and where to; the options of `bitface embed`.

    Attributes:
        source: folders or packed sets of aligned crops, or of photographs.
        out: a .npy, .npz, .parquet or .csv file; see `inputs.vector_files`.
        face: the images are photographs, and this is which face of each: `largest`, `all` (a row for each face), or a
            number from the left. None: they are crops.
        flip: adds the mirrored image's embedding.
        normalize: unit vectors; otherwise as the network gives them.
    """

    model: Path
    source: FaceSource
    out: Path
    face: FaceWord | None = None
    flip: bool = False
    normalize: bool = False
    engine: str | None = None
    threads: int | None = None
    preprocess: str | None = None
    size: Size | None = None
    output: str | None = None


def embed_faces(request: EmbedRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes the embeddings of all images of a source, in their order; of one that can't be used the row is NaN.

    How far it has come is kept beside the file (`.OUT.parts`) until that is whole: the same call again goes on there.
    Of several ranks each embeds a part of the images, and the first writes; all must see the folder.

    Returns:
        `files` that were written, `rows` and `size` of the vectors, `images`, `several`: photographs of several faces,
        `skipped` (path and reason), `fingerprint`, `engine`, `notes`, `warnings`.

    Raises:
        UsageError: another kind of file, or another word for a face.
        BitfaceError: the model can't be used, not one image can, or the file can't be written.
    """
    check_name(request.out)
    out, word = request.out, None if request.face is None else face_word(request.face)
    files = files_of(request.source.images, request.source.image_list)
    ready = _prepared(request, files)
    work = _Work(ready.embedder, files, request.flip, request.normalize, word)
    ranks.agree({"model": ready.embedder.fingerprint, "images": key_of(file_facts(files))})
    lock = locked(out.with_name(f".{out.name}.lock"), out, "embed")
    written: list[Path] = []
    with lock if ranks.is_first() else nullcontext():
        store = Store(out.with_name(f".{out.name}.parts"))
        summary = _Summary()
        if ranks.count() > 1:
            for _ in work.parts(store, steps("embedding"), ranks.rank(), ranks.count()):
                pass
            ranks.wait()
        for part in work.parts(store, steps("embedding")):
            summary.add(part)
        if not summary.rows - len(summary.skipped):
            raise BitfaceError(
                f"no embedding of {len(files):,} images, the first: {summary.skipped[0].path}: "
                f"{summary.skipped[0].reason}; give aligned crops, or photographs of faces with "
                f"{option('face', 'largest')}"
            )
        again = ((part.values, part.rows) for part in work.parts(store, silent("")))
        ranks.wait()
        if ranks.is_first():
            written = write_vectors(out, summary.rows, ready.embedder.embedding_size, again)
            shutil.rmtree(store.root, ignore_errors=True)
    return {
        "files": [str(path) for path in written],
        "images": len(files),
        "rows": summary.rows,
        "size": ready.embedder.embedding_size,
        "several": summary.several,
        "skipped": [{"path": row.path, "reason": row.reason} for row in summary.skipped],
        "normalized": request.normalize,
        "flip": request.flip,
        "fingerprint": ready.embedder.fingerprint,
        "engine": ready.embedder.engine,
        "notes": [*ready.notes, *_of_several(summary.several, word)],
        "warnings": [*ready.warnings, *_of_skipped(summary.skipped, summary.rows)],
    }


def _prepared(request: EmbedRequest, files: Sequence[FaceFile]) -> Prepared:
    if request.face is None:
        return prepare(
            request.model, files, request.engine, request.threads, request.preprocess, request.size,
            output=request.output,
        )  # fmt: skip
    model = open_model(request.model, request.preprocess, request.size, output=request.output)
    embedder = Embedder(model, request.engine, request.threads)
    notes, warnings = about_engine(embedder, explicit=request.engine is not None)
    return Prepared(embedder, (*model.known.notes, *notes), (*model.known.warnings, *warnings))


@dataclass(frozen=True)
class _Part:
    """Embeddings `[n, D]` of some images, what each row is of, and how many of the images show several faces."""

    values: np.ndarray
    rows: Sequence[Row]
    several: int = 0


@dataclass
class _Summary:
    rows: int = 0
    several: int = 0
    skipped: list[Row] = field(default_factory=list)

    def add(self, part: _Part) -> None:
        self.rows += len(part.rows)
        self.several += part.several
        self.skipped += [row for row in part.rows if row.reason]


@dataclass(frozen=True)
class _Work:
    """What is to be embedded, and how; `word`: see `EmbedRequest.face`."""

    embedder: Embedder
    files: Sequence[FaceFile]
    flip: bool
    normalize: bool
    word: FaceWord | None

    def parts(self, store: Store, tell: Progress, first: int = 0, every: int = 1) -> Iterator[_Part]:
        """All images in their order, part by part: from the store, or computed and put there.

        Args:
            first, every: of the parts these are given alone.
        """
        settings = (
            self.embedder.fingerprint, self.embedder.engine, self.embedder.preprocess.name, self.flip, self.normalize,
            self.word,
        )  # fmt: skip
        compute = self._of_crops if self.word is None else self._of_photographs
        for begin in range(first * _KEPT_EVERY, len(self.files), every * _KEPT_EVERY):
            files = self.files[begin : begin + _KEPT_EVERY]
            key = key_of((settings, begin), *file_facts(files))
            yield store.value("parts", key, _FORM, partial(compute, files, begin, tell))
            tell(begin + len(files), len(self.files))

    def _of_crops(self, files: Sequence[FaceFile], begin: int, tell: Progress) -> _Part:
        skipped: list[tuple[str, str]] = []
        values, valid = self.embedder.embed_files(
            files, self.flip, skipped, lambda done, _: tell(begin + done, len(self.files))
        )
        reasons = dict(zip(np.flatnonzero(~valid).tolist(), (reason for _, reason in skipped), strict=True))
        rows = [Row(file.relative, None, reasons.get(place, "")) for place, file in enumerate(files)]
        return self._finished(values, rows)

    def _of_photographs(self, files: Sequence[FaceFile], begin: int, tell: Progress) -> _Part:
        assert self.word is not None
        photographs = Photographs(self.embedder.preprocess.size, self.word)
        rows: list[Row] = []
        blocks = [np.zeros((0, self.embedder.embedding_size), np.float32)]
        waiting: list[np.ndarray] = []
        several = 0
        blank = np.zeros((*self.embedder.preprocess.size, 3), np.uint8)
        for done, file in enumerate(files, 1):
            crops: Sequence[FaceCrop] = ()
            try:
                crops = photographs.crops(file.path, file.encoded)
                rows += [Row(file.relative, crop.photograph.number if crop.photograph else None) for crop in crops]
            except ImageSkipped as error:
                rows.append(Row(file.relative, None, error.reason))
            several += any(crop.photograph and crop.photograph.faces > 1 for crop in crops)
            waiting += [crop.crop for crop in crops] or [blank]
            if len(waiting) >= _AT_ONCE or done == len(files):
                blocks.append(self.embedder.embed(np.stack(waiting), self.flip))
                waiting = []
            tell(begin + done, len(self.files))
        return self._finished(np.concatenate(blocks), rows, several)

    def _finished(self, values: np.ndarray, rows: list[Row], several: int = 0) -> _Part:
        """NaN where a row has a reason, or where the network gives nothing that can be compared."""
        usable = unit_rows(values)[1]
        told = [
            row if row.reason or fine else replace(row, reason=_UNUSABLE)
            for row, fine in zip(rows, usable.tolist(), strict=True)
        ]
        if self.normalize:
            values = unit_length(values)
        values[[bool(row.reason) for row in told]] = np.nan
        return _Part(values, told, several)


def _read_part(path: Path) -> _Part:
    with safe_open(path, "np") as file:
        facts = json.loads((file.metadata() or {})["part"])
        return _Part(file.get_tensor("values"), [Row(*row) for row in facts["rows"]], int(facts["several"]))


def _write_part(part: _Part, path: Path) -> None:
    facts = {"rows": [(row.path, row.face, row.reason) for row in part.rows], "several": part.several}
    save_file({"values": np.ascontiguousarray(part.values)}, path, {"part": json.dumps(facts)})


_FORM: Form[_Part] = Form(".safetensors", _read_part, _write_part)


def _of_several(count: int, word: FaceWord | None) -> list[str]:
    if not count:
        return []
    what = {LARGEST: "the largest of each is embedded", ALL: "each has a row"}.get(str(word), f"number {word} is taken")
    return [f"{count:,} photographs show several faces: {what} ({option('face')} chooses)"]


def _of_skipped(skipped: Sequence[Row], rows: int) -> list[str]:
    if not skipped:
        return []
    return [
        f"{len(skipped):,} of {rows:,} rows are NaN, as there is no embedding, the first: {skipped[0].path}: "
        f"{skipped[0].reason}; the column 'reason' says why of each"
    ]
