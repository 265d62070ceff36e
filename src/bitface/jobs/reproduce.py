"""`bitface reproduce`: the rows of a paper's table, made by our recipes and put beside the paper's figures.

Each row lies in a folder of its own. What is there already is taken, so that a reproduction that was stopped goes on
where it stopped, by being called again.
"""

import json
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import bitface
from bitface.data.face_source import FaceSource
from bitface.data.faces import find_images
from bitface.data.sources import Source, cached
from bitface.errors import BitfaceError, UsageError, option
from bitface.files import new_folder, write_bytes, write_json
from bitface.inputs import papers, recipes
from bitface.inputs.papers import Row
from bitface.inputs.suites import Suite, SuiteModel
from bitface.jobs.pretrain import pretrain, training_of
from bitface.jobs.quantize import quantize_model
from bitface.jobs.runs.forecast import forecast
from bitface.jobs.runs.reproduction import SMALL_IMAGES, ReproduceRequest, Reproduction, Run
from bitface.jobs.suite import run_suite
from bitface.progress import Steps, silent
from bitface.results.folder import RESULT, check_foreign, finished, is_finished
from bitface.results.locks import holding
from bitface.results.quantization import agreed
from bitface.results.reproduction import ReproducedRow, ReproductionRecord
from bitface.runtime.machine import describe

TABLE = "table.md"
_FARS = (1e-4, 1e-5)


def foretold(reproduction: Reproduction, steps: Steps = silent) -> list[str]:
    """How long each row would take, by a few steps of it; a line for each.

    Raises:
        BitfaceError, UsageError: see `forecast`.
    """
    lines = []
    if reproduction.request.small and not reproduction.images[0].exists():
        _make_people(reproduction.images[0])
    for run in reproduction.runs:
        title = f"{run.row.title}" + f", seed {run.seed}" * (run.row.seeds > 1)
        if is_finished(run.folder):
            lines.append(f"{title}: is there")
        elif not reproduction.models[run.row.network].exists():
            lines.append(f"{title}: can't be told before its float network is trained")
        elif run.row.post_training:
            lines.append(f"{title}: calibration alone, some minutes at most")
        else:
            told = forecast(reproduction.quantization(run), lambda name, run=run: steps(f"{run.row.title}: {name}"))  # type: ignore[misc]
            minutes = (told.teacher_seconds + told.trial.steps * told.trial.step_seconds) / 60
            lines.append(f"{title}: {told.trial.steps:,} steps, about {_time(minutes)} on {told.trial.device}")
    return lines


def _time(minutes: float) -> str:
    if minutes < 90:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.1f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def reproduce(reproduction: Reproduction, steps: Steps = silent) -> dict[str, Any]:
    """Makes the rows that aren't there, evaluates all, and writes `result.json` and `table.md`.

    Returns:
        The content of `result.json`.

    Raises:
        BitfaceError, UsageError: a row can't be made (it is named); those before it are kept.
    """
    request = reproduction.request
    with holding(request.out, "reproduce"):
        _check_same(request)
        if request.small and not request.images and request.data is None and not reproduction.images[0].exists():
            _make_people(reproduction.images[0])
        for name, path in reproduction.models.items():
            _train(reproduction, name, path, steps)
        agreements: dict[Path, float] = {}
        for run in reproduction.runs:
            try:
                agreements[run.folder] = _agreement(reproduction, run, steps)
            except UsageError as error:
                raise UsageError(f"{run.row.title}: {error}") from error
            except BitfaceError as error:
                raise BitfaceError(f"{run.row.title}: {error}") from error
        figures = _figures(reproduction, steps)
        rows = [_row(reproduction, row, agreements, figures) for row in reproduction.rows]
        selection = request.selection
        record = ReproductionRecord.of(
            {
                "bitface": bitface.__version__,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "paper": selection.paper,
                "table": selection.name,
                "title": selection.title,
                "small": request.small,
                "rows": [row.to_json() for row in rows],
                "departures": list(selection.table.departures),
                "notes": reproduction.notes,
                "machine": describe(),
            }
        )
        write_bytes(request.out / TABLE, record.text().encode())
        content = record.to_json()
        write_json(request.out / RESULT, content)
    return content


def _check_same(request: ReproduceRequest) -> None:
    """A folder holds rows of one table, of one kind."""
    facts = {"paper": request.selection.paper, "table": request.selection.name, "small": request.small}
    file = request.out / "reproduction.json"
    check_foreign(request.out, (RESULT, TABLE), ours=file.is_file())
    if file.is_file():
        earlier = json.loads(file.read_text(encoding="utf-8"))
        if earlier != facts:
            said = f"{earlier.get('paper')}, table {earlier.get('table')}" + ", small" * bool(earlier.get("small"))
            raise BitfaceError(
                f"{request.out}: holds rows of another reproduction ({said}); choose another {option('out')}"
            )
    else:
        write_json(file, facts)


def _make_people(folder: Path) -> None:
    """People who don't exist, each in two views: as generated, and shifted and darker."""
    images = find_images([cached(Source.parse(f"synthetic:{2 * SMALL_IMAGES}"))])
    with new_folder(folder) as people:
        for number, file in enumerate(images):
            face = np.asarray(Image.open(file.path).convert("RGB"))
            person = people / f"{number:04d}"
            person.mkdir()
            Image.fromarray(face).save(person / "a.png")
            Image.fromarray((0.85 * np.roll(face, (2, 3), (0, 1))).astype(np.uint8)).save(person / "b.png")


def _train(reproduction: Reproduction, name: str, path: Path, steps: Steps) -> None:
    """The float network of a table, where the paper trains it and nobody named a file."""
    scratch = papers.scratch_of(reproduction.request.selection, name)
    if path.exists() or scratch is None:
        return
    request = reproduction.request
    options = recipes.Options(source=FaceSource(reproduction.images), out=path.parent, device=request.device)
    pretrain(training_of(recipes.merged(scratch, options), resume=True), lambda step: steps(f"{name}: {step}"))


def _agreement(reproduction: Reproduction, run: Run, steps: Steps) -> float:
    if finished(run.folder, "reproduce"):
        content = json.loads((run.folder / RESULT).read_text(encoding="utf-8"))
    else:
        content = quantize_model(reproduction.quantization(run), lambda name: steps(f"{run.row.title}: {name}"))
    return float(agreed(content)[1]["mean"])


def _figures(reproduction: Reproduction, steps: Steps) -> dict[tuple[str, str], dict[str, float]]:
    """(model, benchmark) → figure → per cent, of every network and every run."""
    if not reproduction.tests:
        return {}
    request = reproduction.request
    models = [SuiteModel(name, path, request.preprocess) for name, path in reproduction.models.items()]
    models += [SuiteModel(run.folder.name, run.folder / "model.bitface") for run in reproduction.runs]
    suite = Suite(
        tuple(models), reproduction.tests, request.out / "tests", reproduction.base, fars=_FARS, flip=False
    )  # fmt: skip
    result: dict[tuple[str, str], dict[str, float]] = {}
    for cell in run_suite(suite, steps)["cells"]:
        values = {one["name"]: 100 * one["value"] for one in cell["figures"] if one["value"] is not None}
        result[cell["probe"], cell["protocol"]] = values
    return result


def _row(
    reproduction: Reproduction,
    row: Row,
    agreements: Mapping[Path, float],
    figures: Mapping[tuple[str, str], Mapping[str, float]],
) -> ReproducedRow:
    runs = [run for run in reproduction.runs if run.row is row]
    names = [run.folder.name for run in runs] or [row.network]
    ours: dict[str, float] = {}
    spread: dict[str, float] = {}
    for key in row.figures:
        benchmark, figure = papers.evaluated_as(key)
        values = [_value(figures.get((name, benchmark), {}), figure) for name in names]
        known = [value for value in values if value is not None]
        if known:
            ours[key] = round(statistics.mean(known), 4)
            if len(known) > 1:
                spread[key] = round(statistics.stdev(known), 4)
    cosines = [agreements[run.folder] for run in runs]
    return ReproducedRow(
        network=row.network, name=row.name, recipe=row.recipe,
        models=tuple(str(run.folder / "model.bitface") for run in runs) or (str(reproduction.models[row.network]),),
        paper=dict(row.figures), ours=ours, spread=spread, agreement=statistics.mean(cosines) if cosines else None,
    )  # fmt: skip


def _value(figures: Mapping[str, float], name: str) -> float | None:
    """A figure by its name; among distractors the one among the most, of videos the first."""
    among = [value for key, value in figures.items() if key.startswith(f"{name}, ")]
    others = [value for key, value in figures.items() if key == name or key.startswith(f"{name} ")]
    return among[-1] if among else others[0] if others else None
