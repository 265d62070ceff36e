"""`bitface align`: photographs in, aligned crops out, with an account of every face and a sheet to look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from bitface.data.align import CROP, AlignedFace, FaceAligner
from bitface.data.faces import FaceFile, find_images
from bitface.data.images import ImageSkipped, read_image
from bitface.data.sheet import sheet_png
from bitface.errors import BitfaceError, option
from bitface.files import new_folder, path_fields, write_bytes
from bitface.inputs.photographs import LARGEST, FaceWord, aligner, chosen, face_word
from bitface.progress import Steps, silent
from bitface.results.locks import locked
from bitface.tables import table_bytes

FACES, SKIPPED = "faces.csv", "skipped.csv"
_ON_SHEET = 200
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_COLUMNS = (
    "photograph", "crop", "faces", "number", "score", "x", "y", "width", "height",
    *(f"{name}_{axis}" for name in _POINTS for axis in "xy"),
)  # fmt: skip


@dataclass(frozen=True)
@path_fields
class AlignRequest:
    """Which photographs to cut faces out of; the options of `bitface align`.

    Attributes:
        photographs: folders and files.
        out: the folder of the crops; it must be empty or new.
        face: which of several faces in one: `largest`, `all`, or a number from the left.
        score: what the detector has to be sure of, 0 to 1.
        size: of the crops, see `data.align.template`.
    """

    photographs: tuple[Path, ...]
    out: Path
    face: FaceWord = LARGEST
    score: float = 0.6
    size: tuple[int, int] = (CROP, CROP)


def align_photographs(request: AlignRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes a PNG of each face, in the folders and by the names of the photographs.

    Beside the crops `faces.csv` says of each where it was found (box and five points), how many faces its photograph
    shows and which this one is; `skipped.csv` says why a photograph gave none. `OUT.sheet.png` shows up to 200 of them.

    Returns:
        `photographs`, `crops`, `several`: the photographs with more than one face, `skipped` (path and reason),
        `sheet`, `notes` and `warnings`.

    Raises:
        UsageError: another word for a face.
        BitfaceError: no photograph can be read and shows a face, two crops would have one name, or `out` isn't free.
    """
    word, files = face_word(request.face), photographs_of(request.photographs)
    out = request.out
    sheet = out.with_name(f"{out.name}.sheet.png")
    rows: list[tuple[object, ...]] = []
    skipped: list[tuple[str, str]] = []
    several = 0
    with locked(out.with_name(f".{out.name}.lock"), out, "align"), new_folder(out) as folder:
        names = _Names()
        tell = steps("aligning")
        for done, (file, faces) in enumerate(_found(files, word, aligner(request.score, request.size)), 1):
            if isinstance(faces, str):
                skipped.append((file.relative, faces))
            else:
                several += faces[0].faces > 1
                for face in faces:
                    name = names.of(file, face.number if len(faces) > 1 else None)
                    _write(folder / name, face.crop)
                    rows.append(_row(file, name, face))
            tell(done, len(files))
        if not rows:
            raise BitfaceError(
                f"no crop of {len(files):,} photographs, the first: {skipped[0][0]}: {skipped[0][1]}; give photographs "
                "of faces"
            )
        if skipped:
            write_bytes(folder / SKIPPED, table_bytes(("path", "reason"), skipped))
        write_bytes(folder / FACES, table_bytes(_COLUMNS, rows))
        crops = [str(row[1]) for row in rows]
        write_bytes(sheet, sheet_png(_some(folder, crops)))
    return {
        "out": str(out),
        "photographs": len(files),
        "crops": len(crops),
        "several": several,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "sheet": str(sheet),
        "notes": _notes(several, word),
        "warnings": _warnings(skipped, len(files), out),
    }


def photographs_of(paths: Sequence[Path]) -> list[FaceFile]:
    """The image files that are named, and those below the folders that are.

    Raises:
        BitfaceError: a path isn't there, or a folder holds no image.
    """
    files = [FaceFile(path.parent, path.name) for path in paths if path.is_file()]
    folders = [path for path in paths if not path.is_file()]
    return [*files, *(find_images(folders) if folders else [])]


def _found(
    files: Sequence[FaceFile], word: FaceWord, detector: FaceAligner
) -> Iterator[tuple[FaceFile, list[AlignedFace] | str]]:
    """Of each photograph the faces that are wanted, or the reason why there are none."""
    for file in files:
        try:
            yield file, chosen(detector.faces(read_image(file.encoded)), word)
        except ImageSkipped as error:
            yield file, error.reason


class _Names:
    """The files of crops: that of the photograph, as PNG."""

    def __init__(self) -> None:
        self._taken: dict[str, FaceFile] = {}

    def of(self, file: FaceFile, number: int | None) -> str:
        """Raises BitfaceError where another photograph's crop has the name."""
        path = PurePosixPath(file.relative)
        name = str(path.with_name(f"{path.stem}{'' if number is None else f'.{number}'}.png"))
        other = self._taken.setdefault(name, file)
        if other.path != file.path:
            raise BitfaceError(
                f"{file.path}: its crop and that of {other.path} would both be {name}; align the two into folders of "
                f"their own, or rename one"
            )
        return name


def _row(file: FaceFile, name: str, face: AlignedFace) -> tuple[object, ...]:
    points = (f"{value:.2f}" for value in face.landmarks.ravel())
    return (file.relative, name, face.faces, face.number, f"{face.score:.4f}", *face.box, *points)


def _write(path: Path, crop: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(crop).save(path)


def _some(folder: Path, crops: Sequence[str]) -> np.ndarray:
    """Crops for the sheet, evenly from all."""
    count = min(len(crops), _ON_SHEET)
    return np.stack([read_image(folder / crops[place * len(crops) // count]) for place in range(count)])


def _notes(several: int, word: FaceWord) -> list[str]:
    if not several or word != LARGEST:
        return []
    verb = "photograph shows" if several == 1 else "photographs show"
    return [f"{several:,} {verb} several faces, of which the largest is taken; {option('face', 'all')} takes each"]


def _warnings(skipped: Sequence[tuple[str, str]], total: int, out: Path) -> list[str]:
    if not skipped:
        return []
    return [
        f"{len(skipped):,} of {total:,} photographs give no crop, the first: {skipped[0][0]}: {skipped[0][1]}; all are "
        f"in {out / SKIPPED}"
    ]
