"""`bitface report`: what earlier commands measured in, one page, a model card and the plain data of both out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface import report
from bitface.data.faces import FaceFile
from bitface.errors import BitfaceError, UsageError
from bitface.files import check_destination, write_bytes, write_json
from bitface.report import provenance
from bitface.report.card import card
from bitface.report.comparison import comparison_page, suite_page
from bitface.report.flipped_faces import pictures
from bitface.report.grouping import Subject, subjects, told_apart
from bitface.report.models import curves_of, headline, models_of
from bitface.report.remarks import Remarks
from bitface.report.search_pages import search_page, sensitivity_page
from bitface.results.documents import (
    ANALYSIS,
    BENCH,
    COMPARISON,
    SEARCH,
    SENSITIVITY,
    SUITE,
    Document,
    read_runs,
    reading,
)

_NAMED = 3
# Height and width of a face, in pixels.
_CROP = (112, 112)
_PAGES = {SENSITIVITY: sensitivity_page, SEARCH: search_page, COMPARISON: comparison_page, SUITE: suite_page}
# What such a page may hold, and the key of each one's name.
_PARTS = {"plots": "title", "tables": "title", "curves": "title", "comparisons": "title", "models": "name"}


@dataclass(frozen=True)
class ReportRequest:
    """What to report on; the options of `bitface report`.

    Attributes:
        runs: folders of results, or results themselves; see `runs.read_runs`.
        out: the page; the card lies beside it as `.md`, the data as `.json`.
        faces: shows the faces of flipped pairs, where the results hold an analysis and its images are still there.
    """

    runs: Sequence[Path]
    out: Path = Path("report.html")
    title: str | None = None
    faces: bool = False


def make_report(request: ReportRequest) -> dict[str, Any]:
    """Writes the page, the card and the data.

    Returns:
        The content of the JSON file: the report's input, see `report.render`, without any face.

    Raises:
        BitfaceError: a run can't be read, or nothing can be written.
        UsageError: no run is named, or the page has no name of its own.
    """
    if not request.runs:
        raise UsageError("name a folder that bitface wrote, or a JSON file")
    if request.out.suffix not in (".html", ".htm") or request.out.is_dir():
        raise UsageError(f"--out names the page, such as report.html; '{request.out}' isn't one")
    places = [request.out, request.out.with_suffix(".md"), request.out.with_suffix(".json")]
    for place in places:  # of three files, not one should be written where another can't
        check_destination(place)
    documents = read_runs(request.runs)
    try:
        content = build(documents, request.title)
        shown = _faces(documents, content) if request.faces else ()
        page = report.render(content, shown)
        text = card(content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BitfaceError(
            f"{', '.join(map(str, request.runs))}: a result was changed and can't be drawn; make it again"
        ) from error
    write_bytes(places[0], page.encode())
    write_bytes(places[1], text.encode())
    write_json(places[2], content)
    return content


def build(documents: Sequence[Document], title: str | None = None) -> dict[str, Any]:
    """The report's input."""
    remarks = Remarks()
    found, warnings = subjects(documents)
    for text in [*warnings, *provenance.teachers(documents)]:
        remarks.warn(text)
    latency = _latency(documents, found, remarks)
    models = models_of(found, latency, remarks)
    plots = _plots(documents, remarks)
    content = {
        "bitface": bitface.__version__,
        "title": title or _title(found, documents),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "headline": headline(models[0]) if len(models) == 1 else None,
        "models": [*models, *plots.pop("models")],
        "curves": [*curves_of(found), *plots.pop("curves")],
        **plots,
        "analyses": _analyses(documents, found, remarks),
        "latency": latency,
        "provenance": provenance.facts(found, documents),
        **remarks.to_json(),
    }
    return {key: value for key, value in content.items() if value}


def _title(models: Sequence[Subject], documents: Sequence[Document]) -> str:
    names = [one.name for one in models]
    if not names:
        return f"{documents[0].path.resolve().parent.name}: report"
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} models"


def _latency(documents: Sequence[Document], models: Sequence[Subject], remarks: Remarks) -> dict[str, Any] | None:
    """The rows of all benches, as one section; of several, a model's folder tells its rows from others'."""
    benches = [one for one in documents if one.kind == BENCH]
    labels = {model.path.resolve(): model.labels[0] for model in models} if len(benches) > 1 else {}
    rows: list[dict[str, Any]] = []
    for one in benches:
        with reading(one):
            for row in one.content["rows"]:
                label = labels.get((one.path.parent / row["model"]).resolve(), row["model"])
                rows.append({**row, "model": label, "median_ms": float(row["median_ms"])})
            remarks.take(one.content)
    if len(benches) > 1:
        remarks.warn(f"times of {len(benches)} runs of bench: only ratios inside one run mean much")
    machines = dict.fromkeys(str(one.content["machine"]) for one in benches)
    return {"machine": "; ".join(machines), "rows": rows} if rows else None


def _plots(documents: Sequence[Document], remarks: Remarks) -> dict[str, list[dict[str, Any]]]:
    """Plots, tables, curves, comparisons and plans of results that have pages of their own, under that page's title."""
    drawn = []
    for document in documents:
        if draw := _PAGES.get(document.kind):
            with reading(document):
                drawn.append((document, draw(document.content)))
    names = told_apart([(page["title"], document.path) for document, page in drawn])
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in _PARTS}
    for name, (_, page) in zip(names, drawn, strict=True):
        for key, word in _PARTS.items():
            found[key] += [{**one, word: f"{name}: {one[word]}"} for one in page.get(key, ())]
        remarks.take(page, name)
    return found


def _analyses(documents: Sequence[Document], models: Sequence[Subject], remarks: Remarks) -> list[dict[str, Any]]:
    """The analyses, under the names of their students where those are models of the report."""
    known = {model.fingerprint: model.name for model in models if model.fingerprint}
    found = [one for one in documents if one.kind == ANALYSIS]
    titles = []
    for one in found:
        with reading(one):
            titles.append(known.get(one.content["student"]["fingerprint"], str(one.content["title"])))
    names = told_apart(list(zip(titles, (one.path for one in found), strict=True)))
    for name, one in zip(names, found, strict=True):
        remarks.take(one.content, name)
    return [{**one.content, "title": name} for name, one in zip(names, found, strict=True)]


def _faces(documents: Sequence[Document], content: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The crops of each analysis's flipped pairs; a warning where there are none to be had."""
    found = []
    for one in documents:
        if one.kind == ANALYSIS:
            with reading(one):
                found.append(_crops(one.content))
    if not any(found):
        words = "no face is shown: --faces shows the flipped pairs of an analysis whose images are where they were"
        content.setdefault("warnings", []).append(words)
    return found


def _crops(analysis: dict[str, Any]) -> dict[str, np.ndarray]:
    """The faces of an analysis's flipped pairs, from the folder that it names; none of what isn't there any more."""
    flips, folder = analysis["flips"], analysis["faces"].get("folder")
    if not flips or folder is None:
        return {}
    paths = dict.fromkeys(path for pair in flips["worst"] for path in (pair["left"], pair["right"]))
    return pictures([FaceFile(Path(folder), path) for path in paths], flips, _CROP)
