"""`bitface report`: what earlier commands measured in, one page, a model card and the plain data of both out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface import report
from bitface.errors import BitfaceError, UsageError, flag, option
from bitface.files import check_destination, path_fields, same_file, write_bytes, write_json
from bitface.report.card import card
from bitface.report.changes import Side, changes_of
from bitface.report.content import content_of
from bitface.report.flipped_faces import pictures_of
from bitface.results.analysis import AnalysisRecord
from bitface.results.base import StoredResult
from bitface.results.documents import Document, of_kind, read_runs
from bitface.results.first_version import kind_of


@dataclass(frozen=True)
@path_fields
class ReportRequest:
    """What to report on; the options of `bitface report`.

    Attributes:
        runs: folders of results, or results themselves; see `results.documents.read_runs`.
        out: the page; the card lies beside it as `.md`, the data as `.json`.
        faces: shows the faces of flipped pairs, where the results hold an analysis and its images are still there.
        diff: what changed from the first of two runs to the second.
        json: where the caller writes the data once more.
    """

    runs: Sequence[Path]
    out: Path = Path("report.html")
    title: str | None = None
    faces: bool = False
    diff: bool = False
    json: Path | None = None


def make_report(request: ReportRequest) -> dict[str, Any]:
    """Writes the page, the card and the data.

    Returns:
        The content of the JSON file: the report's input, see `report.render`, without any face.

    Raises:
        BitfaceError: a run can't be read, or nothing can be written.
        UsageError: no run is named, the page has no name of its own, or a file would be lost that is read or that no
            report wrote.
    """
    if not request.runs:
        raise UsageError("name a folder that bitface wrote, or a JSON file")
    if request.diff and (len(request.runs) != 2 or request.faces):
        raise UsageError(f"{flag('diff')} takes two results, the earlier one first, and shows no faces")
    if request.out.suffix not in (".html", ".htm") or request.out.is_dir():
        raise UsageError(f"{option('out')} names the page, such as report.html; '{request.out}' isn't one")
    places = [request.out, request.out.with_suffix(".md"), request.out.with_suffix(".json")]
    for place in places:  # of three files, not one should be written where another can't
        check_destination(place)
    read = [read_runs([run]) for run in request.runs] if request.diff else [read_runs(request.runs)]
    _check_kept(request, places, [one.path for documents in read for one in documents])
    documents = [] if request.diff else read[0]
    sides = tuple(Side.of(run, own) for run, own in zip(request.runs, read, strict=True)) if request.diff else ()
    try:
        content = changes_of(sides[0], sides[1], request.title) if sides else content_of(documents, request.title)
        faces = _faces(documents, content) if request.faces else ()
        page = report.render(content, faces)
        text = card(content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
        raise BitfaceError(
            f"{', '.join(map(str, request.runs))}: a result was changed and can't be drawn; make it again"
        ) from error
    if "analyses" in content:
        content["analyses"] = [one.to_json() for one in content["analyses"]]
    write_json(places[2], content)  # first, since it says of the card beside it that a report wrote it
    write_bytes(places[0], page.encode())
    write_bytes(places[1], text.encode())
    return content


def _check_kept(request: ReportRequest, places: Sequence[Path], read: Sequence[Path]) -> None:
    """Refuses places where something would be lost: what the report is made of, other data, a card of somebody else.

    A page may be written over: its name was given, and the pages that commands wrote are what a report replaces.
    """
    named = [(place, "out") for place in places] + ([(request.json, "json")] if request.json else [])
    for place, name in named:
        if any(same_file(place, path) for path in read):
            raise UsageError(
                f"{place}: the report is made of it, and {option(name)} would write over it; choose another name"
            )
        if place not in places[:2] and _is_anothers(place):
            raise UsageError(
                f"{place}: isn't a report's, and {option(name)} would write over it; choose another name, or move it"
            )
    page, card, data = places
    if card.is_file() and card.stat().st_size and not data.exists():
        raise UsageError(
            f"{card}: isn't a report's, which has {data.name} beside it; choose another name, or move it away"
        )
    if request.json in (page, card):
        raise UsageError(f"{request.json}: is what {option('out')} writes; {option('json')} names another file")


def _is_anothers(place: Path) -> bool:
    """Whether there is a file that isn't the data of an earlier report; an empty one is nobody's."""
    if not place.is_file() or not place.stat().st_size:
        return False
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(content, dict) or kind_of(content) is not None or not {"bitface", "title"} <= content.keys()


def _faces(documents: Sequence[Document[StoredResult]], content: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The crops of each analysis's flipped pairs; a warning where there are none to be had."""
    crops = [pictures_of(one.result) for one in of_kind(documents, AnalysisRecord)]
    if not any(crops):
        words = (
            f"no face is shown: {flag('faces')} shows the flipped pairs of an analysis whose images are where they were"
        )
        content.setdefault("warnings", []).append(words)
    return crops
