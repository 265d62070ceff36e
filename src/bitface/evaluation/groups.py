"""Groups of people: every figure for each of them, at thresholds found on everybody."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, score_array
from bitface.evaluation.figures.figure import Figure, tar_figures
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.figures.operating import FARS, Distinct
from bitface.evaluation.figures.results import LIST, Counts, Result, ScoreSummary, VerificationResult, summarise
from bitface.evaluation.lists.pairs import identity_of
from bitface.evaluation.protocols.all_pairs import all_pairs
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.similarity import row_scores, unit_rows

_KEYS = ("path", "person", "identity")


@dataclass(frozen=True, eq=False)
class Groups:
    """Which images belong to which group.

    Attributes:
        members: attribute → group → `[N]`, whether each image belongs to it. Images of which nothing is known are in
            no group.
        unknown: images without any attribute.
    """

    members: dict[str, dict[str, Bools]]
    unknown: int


def read_groups(path: Path, images: Sequence[str], people: Sequence[str | None] | None = None) -> Groups:
    """Reads a CSV of attributes: a column `path` (an image) or `person` (the name of the folder), and others.

    Every other column is an attribute, and every value in it a group; an empty cell says that nobody knows.

    Args:
        people: whom each image shows; None: by its folder.

    Raises:
        BitfaceError: the file can't be read, names no image or person, has no attribute or contradicts itself (the
            line is named), or knows nothing of these images.
    """
    key, attributes, table = _read(Path(path))
    identities = people or [identity_of(image) for image in images]
    names = list(images) if key == "path" else [one or "" for one in identities]
    values = [table.get(name, {}) for name in names]
    unknown = sum(not any(row.values()) for row in values)
    if unknown == len(images):
        raise BitfaceError(
            f"{path}: has no attribute of any of the {len(images)} images, '{names[0]}' the first; its column '{key}' "
            + ("holds paths below the image folder" if key == "path" else "holds people's names")
        )
    members: dict[str, dict[str, Bools]] = {}
    for attribute in attributes:
        cells = np.array([row.get(attribute, "") for row in values])
        members[attribute] = {str(group): cells == group for group in sorted({*cells.tolist()} - {""})}
    return Groups({name: groups for name, groups in members.items() if groups}, unknown)


def _read(path: Path) -> tuple[str, list[str], dict[str, dict[str, str]]]:
    table: dict[str, dict[str, str]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = [name or "" for name in rows.fieldnames or ()]
            keys = [name for name in header if name in _KEYS]
            attributes = [name for name in header if name and name not in _KEYS]
            if len(keys) != 1 or not attributes or len(set(header)) != len(header):
                raise BitfaceError(
                    f"{path}: the header is {','.join(header) or 'empty'}; expected a column 'path' or 'person' and "
                    "one column for each attribute"
                )
            for row in rows:
                name = (row[keys[0]] or "").strip().replace("\\", "/")
                if not name or None in row or None in row.values():
                    raise BitfaceError(f"{path}:{rows.line_num}: expected {len(header)} cells, the first ones filled")
                cells = {attribute: row[attribute].strip() for attribute in attributes}
                key = str(PurePosixPath(name))
                if table.setdefault(key, cells) != cells:
                    raise BitfaceError(f"{path}:{rows.line_num}: says something else of '{key}' than a line before")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BitfaceError(f"{path}: no readable CSV file of attributes ({reason})") from error
    return "path" if keys[0] == "path" else "person", attributes, table


@dataclass(frozen=True)
class GroupRow:
    """One group: its images and pairs, accuracy figures of its own, and both error rates at everybody's threshold.

    Attributes:
        distinct: the comparisons behind `rates` that count as evidence; not in the JSON.
    """

    attribute: str
    group: str
    images: int
    figures: list[dict[str, Any]]
    rates: list[dict[str, Any]]
    reason: str | None = None
    distinct: Distinct | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {name: value for name, value in vars(self).items() if name != "distinct"}


def groupable(protocol: FaceProtocol) -> bool:
    """Whether the protocol makes sense within a group of its images."""
    return isinstance(protocol, PairProtocol) or protocol.within(np.ones(len(protocol.paths), bool)) is not None


def by_group(
    protocol: FaceProtocol, embeddings: Embeddings, groups: Groups, overall: Result, seed: int = 0
) -> list[GroupRow]:
    """Every figure for each group: what is made of its images alone (see `FaceProtocol.within`).

    The thresholds of everybody decide in each group (FAR and TAR under `rates`), which is what people meet; other
    figures are the protocol's own among the group. With lists of pairs, accuracy is that of the held-out decisions over
    all.

    Args:
        overall: the result on everybody, of the same protocol and embeddings.
    """
    if isinstance(protocol, PairProtocol) and isinstance(overall, VerificationResult):
        return _by_group_of_pairs(protocol, embeddings, groups, overall, seed)
    summary = overall.verification()
    points = [(one.far, float(one.threshold)) for one in summary.tar if one.threshold is not None] if summary else []
    fars = [one.far for one in summary.tar] if summary else FARS
    rows = []
    for attribute, members in groups.members.items():
        for group, inside in members.items():
            figures: list[dict[str, Any]] = []
            rates: list[dict[str, Any]] = []
            reason, distinct = None, None
            try:
                part = protocol.within(inside)
                assert part is not None
                result = part.score(embeddings, fars=fars, seed=seed, at=[threshold for _, threshold in points])
                figures = [figure.to_json() for figure in result.figures()]
                if points and (own := result.verification()):
                    distinct = own.counts.distinct
                    rates = [{"target": far, **one.to_json()} for (far, _), one in zip(points, own.fixed, strict=True)]
            except BitfaceError as error:
                reason = str(error)
            rows.append(GroupRow(attribute, group, int(inside.sum()), figures, rates, reason, distinct))
    return rows


def _by_group_of_pairs(
    protocol: PairProtocol, embeddings: Embeddings, groups: Groups, overall: VerificationResult, seed: int
) -> list[GroupRow]:
    """Pairs whose two images both belong to the group.

    TAR, AUC and EER under `figures` are at thresholds of the group's own.
    """
    unit, usable = unit_rows(embeddings.values, embeddings.valid)
    pairs = protocol.pairs
    people = np.array(pairs.identities)
    fars = [point.far for point in overall.tar]
    first = pairs.first
    at = [float(point.threshold) for point in overall.tar if point.threshold is not None]
    rows = []
    for attribute, members in groups.members.items():
        for group, inside in members.items():
            listed = inside[pairs.left] & inside[pairs.right]
            figures = []
            if listed.any():
                right = int(np.count_nonzero(overall.accuracy.correct[listed]))
                total = int(np.count_nonzero(listed))
                distinct = int(np.count_nonzero(listed & first))
                figures.append(Figure("accuracy", right / total, wilson(right, total, distinct)))
            try:
                summary = _summary(protocol, unit, usable, people, inside, fars, at, seed)
            except BitfaceError as error:
                content = [figure.to_json() for figure in figures]
                rows.append(GroupRow(attribute, group, int(inside.sum()), content, [], str(error)))
                continue
            figures += [*tar_figures(summary.tar), Figure("AUC", summary.auc), Figure("EER", summary.eer)]
            supported = [point.far for point in overall.tar if point.threshold is not None]
            rates = [{"target": far, **one.to_json()} for far, one in zip(supported, summary.fixed, strict=True)]
            own = [figure.to_json() for figure in figures]
            rows.append(GroupRow(attribute, group, int(inside.sum()), own, rates, distinct=summary.counts.distinct))
    return rows


def group_changes(baseline: Sequence[GroupRow], model: Sequence[GroupRow]) -> list[dict[str, Any]]:
    """What changes for each group from the baseline to the model, each at its own threshold for everybody.

    Returns:
        For each group and target FAR the FAR there as a multiple of the baseline's (None where that is 0) and the
        change in TAR.
    """
    changes = []
    for old, new in zip(baseline, model, strict=True):
        before = {rates["target"]: rates for rates in old.rates}
        for rates in new.rates:
            if (was := before.get(rates["target"])) is None:
                continue
            changes.append(
                {
                    "attribute": new.attribute,
                    "group": new.group,
                    "target": rates["target"],
                    "far_ratio": rates["far"] / was["far"] if was["far"] else None,
                    "tar_change": rates["tar"] - was["tar"],
                }
            )
    return changes


def _summary(
    protocol: PairProtocol,
    unit: Floats,
    usable: Bools,
    people: NDArray[np.str_],
    inside: Bools,
    fars: list[float],
    at: list[float],
    seed: int,
) -> ScoreSummary:
    """The pairs within a group. Raises BitfaceError where it has none of one kind."""
    if protocol.all_pairs:
        return all_pairs(Embeddings(unit[inside], usable[inside]), people[inside], fars, seed=seed, at=at)
    pairs = protocol.pairs
    listed = inside[pairs.left] & inside[pairs.right]
    left, right, same = pairs.left[listed], pairs.right[listed], pairs.same[listed]
    scores = row_scores(unit, usable, left, right)
    counts = Counts(
        images=int(inside.sum()),
        failed_images=int((inside & ~usable).sum()),
        identities=None,
        genuine=int(same.sum()),
        impostor=int((~same).sum()),
        failed_pairs=int((~(usable[left] & usable[right])).sum()),
        distinct=Distinct.of(same, pairs.first[listed]),
    )
    genuine = score_array(scores[same], "genuine")
    failed_genuine = int((same & ~(usable[left] & usable[right])).sum())
    return summarise(genuine, ImpostorArray(scores[~same]), tuple(fars), LIST, counts, at, failed_genuine)
