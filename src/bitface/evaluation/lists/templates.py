"""Lists of templates: several images of one person that are compared as one (IJB-B, IJB-C and their like).

Two families of files are read. Those of InsightFace's evaluation: `*_face_tid_mid.txt`, `*_name_5pts_score.txt` and
`*_template_pair_label.txt`, separated by spaces, without a header. And those of NIST's release: CSV files of templates
(header `TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,...`) and a file of matches, `template,template` without a header.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Ints, first_times
from bitface.evaluation.figures.operating import Distinct
from bitface.evaluation.lists.template_files import TemplateRow, line_of, lines_of, number_columns, template_rows, whole

Positions = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class TemplateList:
    """T templates, made of R rows that each put one of N images into a template.

    Attributes:
        paths: the N distinct images, relative to the root folder, with forward slashes, in the order of the file.
        ids: [T], the templates' numbers in the files, ascending.
        image, template, medium: [R], positions in `paths` and in `ids`, and the number of the medium (a still image or
            a video): images of a template that share it are of one medium.
        subject: [T], whom each template shows, numbered from 0 (-1: nobody knows); None where no file says so.
        subjects: the subjects' names in the files, in the order of their numbers.
        quality: [N], the face detector's score of each image, from 0 up; None where no file says so.
        landmarks: [N, 5, 2], five points of each face in pixels of its image, x first; None as before.
        notes: what a reader of the result should know of the files.
    """

    paths: tuple[str, ...]
    ids: Ints
    image: Positions
    template: Positions
    medium: Positions
    subject: Positions | None = None
    quality: NDArray[np.float32] | None = None
    landmarks: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """P pairs of templates.

    Attributes:
        left, right: [P], the templates as positions in `TemplateList.ids`; the left one is the enrolled one.
        same: [P], whether both show one person.
        repeated_genuine, repeated_impostor: pairs that the file lists again, in either order; they are scored as often
            as they are listed.
    """

    left: Positions
    right: Positions
    same: Bools
    repeated_genuine: int = 0
    repeated_impostor: int = 0

    def __len__(self) -> int:
        return len(self.same)

    @property
    def distinct(self) -> Distinct:
        """The pairs of each kind that repeat no other."""
        genuine = int(np.count_nonzero(self.same))
        return Distinct(genuine - self.repeated_genuine, len(self) - genuine - self.repeated_impostor)

    def chosen(self, selection: Bools) -> "TemplatePairs":
        """Some of the pairs, `[P]`."""
        left, right, same = self.left[selection], self.right[selection], self.same[selection]
        again = ~first_times(left, right)
        repeated = (int(np.count_nonzero(again & kind)) for kind in (same, ~same))
        return TemplatePairs(left, right, same, *repeated)


@dataclass(frozen=True, eq=False)
class SearchList:
    """Probes to be searched for in galleries.

    Attributes:
        templates: all of them, with their subjects.
        galleries: name → positions in `templates.ids`; a gallery holds each of its subjects once.
        probes: positions in `templates.ids`.
    """

    templates: TemplateList
    galleries: dict[str, Positions]
    probes: Positions


def read_media_list(path: Path | str, points: Path | str | None = None) -> TemplateList:
    """Reads `*_face_tid_mid.txt` (rows `name.jpg template medium`), and with it `*_name_5pts_score.txt`.

    Args:
        points: rows `name.jpg x1 y1 ... x5 y5 score`, the same images in any order.

    Raises:
        BitfaceError: a file can't be read; a row is malformed, or stands there twice (named by its line); the two
            files don't speak of the same images.
    """
    path = Path(path)
    position: dict[str, int] = {}
    images, templates, media = [], [], []
    lines: dict[tuple[int, int], int] = {}
    for where, (name, template, medium) in lines_of(path, 3, "image name, template, medium"):
        image = position.setdefault(name, len(position))
        key = (image, whole(template, "the template", where))
        if key in lines:
            raise BitfaceError(
                f"{where}: {name} is in template {template} already, by line {lines[key]}; list an image once a "
                "template"
            )
        lines[key] = int(where.rpartition(":")[2])
        images.append(image)
        templates.append(key[1])
        media.append(whole(medium, "the medium", where))
    if not images:
        raise BitfaceError(f"{path}: lists no image; expected rows of image name, template, medium")
    ids, template_of = np.unique(np.array(templates, dtype=np.int64), return_inverse=True)
    template_list = TemplateList(
        paths=tuple(position),
        ids=ids,
        image=np.array(images, dtype=np.int32),
        template=template_of.astype(np.int32),
        medium=np.unique(np.array(media, dtype=np.int64), return_inverse=True)[1].astype(np.int32),
    )
    return template_list if points is None else _with_points(template_list, position, path, Path(points))


def _with_points(template_list: TemplateList, position: dict[str, int], path: Path, points: Path) -> TemplateList:
    values = np.full((len(position), 11), np.nan)
    count = 0
    for where, (name, *cells) in lines_of(points, 12, "image name, five points, score"):
        if name not in position:
            raise BitfaceError(f"{where}: {name} isn't in {path}; use the two files of one release")
        try:
            row = np.array([float(cell) for cell in cells])
        except ValueError:
            row = np.array([np.nan])
        if not np.isfinite(row).all() or row[-1] < 0:
            raise BitfaceError(f"{where}: {' '.join(cells)[:80]!r} isn't ten coordinates and a score from 0 up")
        if not np.isnan(values[position[name], 0]):
            raise BitfaceError(f"{where}: {name} has a row already; list each image once")
        values[position[name]] = row
        count += 1
    if count < len(position):
        absent = template_list.paths[int(np.argmax(np.isnan(values[:, 0])))]
        raise BitfaceError(
            f"{points}: has no row for {len(position) - count} of the {len(position)} images of {path}, "
            f"{absent} the first; use the two files of one release"
        )
    values = values.astype(np.float32)
    return replace(template_list, landmarks=values[:, :10].reshape(-1, 5, 2), quality=values[:, 10])


def read_template_files(paths: Sequence[Path | str], image: str = "{FILENAME}") -> TemplateList:
    """Reads NIST's CSV files of templates as one list, for instance `enroll_templates.csv` and `verif_templates.csv`.

    Columns are found by their names in the header: TEMPLATE_ID, SUBJECT_ID, FILENAME (or FILE), and as the medium
    MEDIA_ID or else SIGHTING_ID; without either, every image is a medium of its own. Others are ignored.

    Args:
        image: where the crop of a row lies below the root folder: text with names of columns in braces, and with
            {STEM} for FILENAME without its ending. Photos that show several people of the list need their crops told
            apart, as by "{STEM}-{SUBJECT_ID}.jpg".

    Raises:
        BitfaceError: a file can't be read or lacks a column; a row is malformed, repeats another one, or contradicts
            it (named by its line); a crop would have to show two people.
        UsageError: `image` names an unknown column.
    """
    rows = [row for path in paths for row in template_rows(Path(path), image)]
    if not rows:
        raise BitfaceError(f"{' and '.join(str(path) for path in paths) or 'no file'}: no template is listed")
    position: dict[str, int] = {}
    media: dict[str, int] = {}
    first_rows: dict[str, TemplateRow] = {}
    entries: dict[tuple[int, str, int], TemplateRow] = {}
    for row in rows:
        position.setdefault(row.path, len(position))
        other = first_rows.setdefault(row.path, row)
        if other.subject != row.subject:
            raise BitfaceError(
                f"{row.where}: {row.path} shows subject {row.subject}, and subject {other.subject} by {other.where}; "
                "crops of one photo need names of their own, such as {STEM}-{SUBJECT_ID}.jpg"
            )
        first = entries.setdefault((row.template, row.path, row.digest), row)
        if first is not row:
            raise BitfaceError(f"{row.where}: repeats {first.where}; list an image once a template")
        media.setdefault(row.medium_key, len(media))
    names, subject_of = _subjects(rows)
    ids, template_of = np.unique(np.array([row.template for row in rows], dtype=np.int64), return_inverse=True)
    single = {row.file for row in rows if row.medium is None}
    return TemplateList(
        paths=tuple(position),
        ids=ids,
        image=np.array([position[row.path] for row in rows], dtype=np.int32),
        template=template_of.astype(np.int32),
        medium=np.array([media[row.medium_key] for row in rows], dtype=np.int32),
        subject=np.array([names[subject_of[one]] for one in ids.tolist()], dtype=np.int32),
        notes=tuple(
            f"{file} has no column MEDIA_ID or SIGHTING_ID: each of its images counts as a medium of its own"
            for file in sorted(single)
        ),
        subjects=tuple(names),
    )


def _subjects(rows: Sequence[TemplateRow]) -> tuple[dict[str, int], dict[int, str]]:
    """The number of each subject, and the subject of each template. Raises BitfaceError where rows disagree."""
    names: dict[str, int] = {}
    first: dict[int, TemplateRow] = {}
    for row in rows:
        names.setdefault(row.subject, len(names))
        other = first.setdefault(row.template, row)
        if other.file != row.file:
            raise BitfaceError(
                f"{row.where}: template {row.template} is in {other.file} too; templates need own numbers"
            )
        if other.subject != row.subject:
            raise BitfaceError(
                f"{row.where}: template {row.template} shows subject {row.subject}, by {other.where} {other.subject}"
            )
    return names, {template: row.subject for template, row in first.items()}


def read_template_pairs(path: Path | str, templates: TemplateList) -> TemplatePairs:
    """Reads `*_template_pair_label.txt` (rows `template template label`) or a file of matches (`template,template`).

    Where there is no label, the templates' subjects decide.

    Raises:
        BitfaceError: the file can't be read; a row is malformed, names an unknown template or the same one twice, or
            contradicts another row or the subjects (named by its line); there is only one kind of pair.
    """
    path = Path(path)
    columns = number_columns(path, (2, 3), "two templates, with or without a label")
    left, right = (_positions(path, column, templates) for column in columns[:2])
    _refuse(path, left == right, "pairs a template with itself")
    genuine = None
    if templates.subject is not None:
        subjects = templates.subject[left], templates.subject[right]
        genuine = (subjects[0] == subjects[1]) & (subjects[0] >= 0)
    if len(columns) == 3:
        _refuse(path, columns[2] > 1, "has a label other than 0 and 1")
        same = columns[2] == 1
        if genuine is not None:
            _refuse(path, same != genuine, "contradicts the subjects of the templates")
    elif genuine is None:
        raise BitfaceError(f"{path}: says not who is the same person, and nobody knows the templates' subjects")
    else:
        same = genuine
    del columns
    if same.all() or not same.any():
        raise BitfaceError(f"{path}: holds only {'genuine' if same[0] else 'impostor'} pairs; both kinds are needed")
    return TemplatePairs(left, right, same, *_repeated(path, left, right, same, len(templates)))


def _positions(path: Path, numbers: NDArray[np.int32], templates: TemplateList) -> Positions:
    at = np.searchsorted(templates.ids, numbers).astype(np.int32)
    np.minimum(at, len(templates) - 1, out=at)
    _refuse(path, templates.ids[at] != numbers, "names a template of which no image is listed")
    return at


def _refuse(path: Path, wrong: Bools, what: str) -> None:
    if wrong.any():
        raise BitfaceError(f"{line_of(path, int(np.argmax(wrong)))} {what}; use the files of one release")


def _repeated(path: Path, left: Positions, right: Positions, same: Bools, count: int) -> tuple[int, int]:
    """How many genuine and how many impostor pairs are listed again."""
    keys = np.minimum(left, right).astype(np.int64)
    keys *= count
    keys += np.maximum(left, right)
    keys *= 2
    keys += same
    keys.sort()
    # A pair of both labels differs from its neighbour in the last bit alone.
    clash = np.flatnonzero((np.diff(keys) == 1) & (keys[:-1] % 2 == 0))
    if len(clash):
        low, high = divmod(int(keys[clash[0]]) // 2, count)
        _refuse(
            path, _later(np.minimum(left, right) == low, np.maximum(left, right) == high), "contradicts a row before"
        )
    again = keys[1:][np.diff(keys) == 0]
    genuine = int(np.count_nonzero(again % 2))
    return genuine, len(again) - genuine


def _later(low: Bools, high: Bools) -> Bools:
    """The rows where both hold, without the first."""
    rows = low & high
    rows[np.argmax(rows)] = False
    return rows


def read_searches(
    galleries: Mapping[str, Path | str],
    probes: Path | str,
    templates: TemplateList | None = None,
    image: str = "{FILENAME}",
) -> SearchList:
    """Reads the CSV files of a 1:N protocol, such as `ijbc_1N_gallery_G1.csv`, `..._G2.csv` and `..._probe_mixed.csv`.

    Args:
        galleries: name → file.
        templates: the templates' images, where another file lists them (`read_media_list`); the CSV files then say
            only which templates there are and whom they show. None: their images are those of the CSV files.
        image: see `read_template_files`.

    Raises:
        BitfaceError: as `read_template_files`; a gallery holds a subject twice, or holds none of the probes' subjects;
            a template has no image.
    """
    files = {name: Path(path) for name, path in galleries.items()}
    if not files:
        raise BitfaceError("a search needs a gallery; give at least one file of gallery templates")
    rows = {path: list(template_rows(path, image)) for path in (*files.values(), Path(probes))}
    if len(rows) <= len(files):
        raise BitfaceError(f"{probes}: a file is given twice; each gallery and the probes have files of their own")
    for path, listed in rows.items():
        if not listed:
            raise BitfaceError(f"{path}: lists no template; expected rows under the header TEMPLATE_ID,SUBJECT_ID,...")
    if templates is None:
        templates = read_template_files(list(rows), image)
    else:
        templates = _with_subjects(templates, [row for listed in rows.values() for row in listed])
    assert templates.subject is not None
    members = {path: _listed(listed, templates) for path, listed in rows.items()}
    probe = members[Path(probes)]
    for name, path in files.items():
        enrolled, first, times = np.unique(templates.subject[members[path]], return_index=True, return_counts=True)
        if (times > 1).any():
            template = templates.ids[members[path][first[np.argmax(times > 1)]]]
            raise BitfaceError(f"{path}: the subject of template {template} has another one; a gallery holds each once")
        if not np.isin(templates.subject[probe], enrolled).any():
            raise BitfaceError(f"{path}: gallery {name} holds no subject of {probes}; use the files of one release")
    return SearchList(templates, {name: members[path] for name, path in files.items()}, probe)


def _with_subjects(templates: TemplateList, rows: Sequence[TemplateRow]) -> TemplateList:
    names, subject_of = _subjects(rows)
    ids = set(templates.ids.tolist())
    for row in rows:
        if row.template not in ids:
            raise BitfaceError(
                f"{row.where}: template {row.template} has no image in the list; use files of one release"
            )
    numbers = [names[subject_of[one]] if one in subject_of else -1 for one in templates.ids.tolist()]
    return replace(templates, subject=np.array(numbers, dtype=np.int32), subjects=tuple(names))


def _listed(rows: Sequence[TemplateRow], templates: TemplateList) -> Positions:
    return np.searchsorted(templates.ids, np.unique([row.template for row in rows])).astype(np.int32)
