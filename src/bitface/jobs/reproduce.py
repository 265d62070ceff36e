"""`bitface reproduce`: the rows of a paper's table, made by our recipes and put beside the paper's figures.

Each row lies in a folder of its own. What is there already is taken, so that a reproduction that was stopped goes on
where it stopped, by being called again.
"""

import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import bitface
from bitface.data.assets import fetch
from bitface.data.face_source import FaceSource
from bitface.data.faces import find_images
from bitface.data.sources import GivenFaces, PackedFaces, Source, cached, opened
from bitface.device import device_of
from bitface.errors import BitfaceError, UsageError, flag, nearest, option
from bitface.files import path_fields, read_yaml, write_bytes, write_json
from bitface.inputs import papers, recipes
from bitface.inputs.papers import Row, Selection
from bitface.inputs.protocols import open_protocol
from bitface.inputs.suites import Suite, SuiteModel
from bitface.jobs.pretrain import pretrain, training_of
from bitface.jobs.quantize import QuantizeRequest, quantize_model, request_of
from bitface.jobs.runs.forecast import forecast
from bitface.jobs.suite import run_suite
from bitface.progress import Steps, silent
from bitface.results.folder import RESULT
from bitface.results.locks import holding
from bitface.results.quantization import agreed
from bitface.results.reproduction import ReproducedRow, ReproductionRecord
from bitface.runtime import open_float
from bitface.runtime.machine import describe

TABLE = "table.md"
_SMALL = {"epochs": 0.01, "min_steps": 20, "batch": 16, "milestones": [0.5, 0.8]}
_SMALL_IMAGES = 96
_FARS = (1e-4, 1e-5)
# Of a row: the artifact, two exports, and the state of a training, in sizes of the float network.
_SIZES = 6


@dataclass(frozen=True)
@path_fields
class ReproduceRequest:
    """Which table, from what.

    Attributes:
        data: the folder of the training set, which may hold packs of the tests (`papers.PACKS`).
        images: of the training set, where `data` doesn't hold it.
        synthetic: the faces of rows that the paper makes from synthetic ones.
        models: network of the table → its file; '' for every network that isn't named.
        protocols: a file that names benchmarks under `protocols`, as a suite does.
        small: a few steps on what is at hand, in the place of the paper's protocol.
    """

    selection: Selection
    out: Path
    data: Path | None = None
    images: tuple[Path, ...] = ()
    synthetic: Path = Path("synthetic:500000")
    models: Mapping[str, Path] = field(default_factory=dict)
    protocols: Path | None = None
    preprocess: str | None = None
    small: bool = False
    device: str | None = None


@dataclass(frozen=True)
class Run:
    """One quantization: a row with a seed, and where it goes."""

    row: Row
    seed: int
    folder: Path


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What is to be done, checked.

    Attributes:
        models: network → its file; that of one that is trained first will lie there.
        tests: benchmark → its protocol as a suite describes it; paths are relative to `base`.
    """

    request: ReproduceRequest
    images: tuple[Path, ...]
    models: dict[str, Path]
    tests: dict[str, Any]
    base: Path
    notes: list[str]

    @property
    def rows(self) -> list[Row]:
        """The table's rows whose network is at hand."""
        return [row for row in self.request.selection.table.rows if row.network in self.models]

    @property
    def runs(self) -> list[Run]:
        """Every quantization, in the table's order."""
        request = self.request
        return [
            Run(row, seed, request.out / f"{_word(row.title)}-{seed}")
            for row in self.rows
            if row.recipe
            for seed in range(1 if request.small else row.seeds)
        ]

    def quantization(self, run: Run) -> QuantizeRequest:
        """The request of a run; it goes on where its folder holds an unfinished training."""
        request, row = self.request, run.row
        recipe = papers.recipe_of(row, self._settings(row), _SMALL if request.small else None)
        synthetic = row.images == papers.SYNTHETIC and not request.small
        source = FaceSource([request.synthetic] if synthetic else self.images)
        if request.small:
            source = replace(source, max_images=_SMALL_IMAGES)
        options = recipes.Options(
            self.models[row.network], source, run.folder, preprocess=request.preprocess, seed=run.seed,
            device=request.device,
        )  # fmt: skip
        return request_of(recipes.merged(recipe, options), resume=True)

    def _settings(self, row: Row) -> dict[str, Any]:
        settings = dict(self.request.selection.table.training)
        if row.images == papers.SYNTHETIC:  # as many steps as with real faces: eleven times a tenth of them
            settings |= {"epochs": 11, "schedule": "step", "milestones": [0.91]}
        return settings


def _word(title: str) -> str:
    return "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in title).strip("-")


def prepared(request: ReproduceRequest) -> Reproduction:
    """Checks everything before anything is computed: networks, faces, tests, device and disk.

    Raises:
        UsageError: a network or the faces aren't named, or one is named that the table hasn't.
        BitfaceError: a file can't be read, or there is too little room.
    """
    table = request.selection.table
    device_of(request.device or "auto")
    if unknown := [name for name in request.models if name and name not in table.networks]:
        raise UsageError(
            f"the table has no network '{unknown[0]}'{nearest(unknown[0], table.networks)} (there are "
            f"{', '.join(table.networks)})"
        )
    found = {name: _model(request, name) for name in table.networks}
    models = {name: path for name, path in found.items() if path is not None}
    if not models:
        named = " or ".join(option("model", f"{name}=FILE") for name in table.networks)
        raise UsageError(f"{request.selection.paper} quantizes networks from elsewhere: name their files by {named}")
    for path in {path for path in models.values() if path.exists()}:
        open_float(path, request.preprocess)
    tests, base = _tests(request)
    for name, spec in tests.items():
        open_protocol(name, spec, base)
    images = _images(request)
    for word in (*images, *([request.synthetic] if "generator:" in str(request.synthetic) else [])):
        _check_faces(word)
    notes = [f"{name} is left out: no {option('model', f'{name}=FILE')}" for name in found if name not in models]
    if request.small:
        networks = ", ".join(sorted({path.name for path in models.values()}))
        faces = ", ".join(map(str, images)) if request.images or request.data else "people who don't exist"
        notes.append(
            f"small: {networks} in the place of every network, {_SMALL_IMAGES} faces ({faces}), 20 steps a row"
        )
    else:
        notes += [
            f"{name} isn't measured: no such test" for name in _benchmarks(request.selection) if name not in tests
        ]
    reproduction = Reproduction(request, images, models, tests, base, notes)
    _check_room(reproduction)
    return reproduction


def _benchmarks(selection: Selection) -> list[str]:
    keys = [papers.evaluated_as(key)[0] for row in selection.table.rows for key in row.figures]
    return list(dict.fromkeys(keys))


def _model(request: ReproduceRequest, name: str) -> Path | None:
    """The file of a network, where it is or where it is going to be; None: nobody names one."""
    path = request.models.get(name) or request.models.get("")
    if path is not None:
        return path
    if request.small:
        return fetch("sface")
    if papers.scratch_of(request.selection, name) is None:
        return None
    return request.out / f"{_word(name)}-float" / "model.onnx"


def _tests(request: ReproduceRequest) -> tuple[dict[str, Any], Path]:
    """The table's benchmarks that are at hand; a file's go before packs in the data folder."""
    wanted = _benchmarks(request.selection)
    tests: dict[str, Any] = papers.packs_in(request.data.resolve()) if request.data else {}
    base = Path()
    if request.protocols:
        content = read_yaml(request.protocols, "list of protocols")
        listed = content.get("protocols") if isinstance(content, Mapping) else None
        if not isinstance(listed, Mapping) or not listed:
            raise UsageError(f"{request.protocols}: names no 'protocols', as a suite does")
        base = request.protocols.resolve().parent
        tests |= {str(name): spec for name, spec in listed.items()}
    return {name: spec for name, spec in tests.items() if request.small or name in wanted}, base


def _images(request: ReproduceRequest) -> tuple[Path, ...]:
    if request.images:
        return request.images
    if request.data is not None:
        if not request.data.is_dir():
            raise BitfaceError(f"{request.data}: is no folder; {option('data')} names that of the training set")
        return (Path(f"rec:{request.data}"),) if (request.data / "train.rec").is_file() else (request.data,)
    if not request.small:
        raise UsageError(
            f"the paper trains on {request.selection.file.trained_on}: name its folder by {option('data')}, other "
            f"faces by {option('images')}, or take what is at hand by {flag('small')}"
        )
    return (request.out / "faces",)


def _check_faces(word: Path) -> None:
    source = Source.parse(word)
    if isinstance(source.data_set, PackedFaces):
        opened(source)
    elif isinstance(source.data_set, GivenFaces) and source.path and source.path.name != "faces":
        if not source.path.exists():
            raise BitfaceError(f"{source.path}: no such file or folder of faces")
        if source.path.is_dir() and not find_images([source.path]):
            raise BitfaceError(f"{source.path}: holds no images")


def _check_room(reproduction: Reproduction) -> None:
    place = next(folder for folder in (reproduction.request.out.resolve(), *reproduction.request.out.resolve().parents)
                 if folder.exists())  # fmt: skip
    sizes = [_bytes(reproduction.models[run.row.network]) for run in reproduction.runs if not _done(run)]
    needed, free = _SIZES * sum(sizes), shutil.disk_usage(place).free
    if needed > free:
        raise BitfaceError(f"{place}: has {free / 1e9:.1f} GB left, and the rows take some {needed / 1e9:.1f} GB")


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 200 << 20


def _done(run: Run) -> bool:
    return (run.folder / RESULT).is_file()


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
        if _done(run):
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
    images = find_images([cached(Source.parse(f"synthetic:{2 * _SMALL_IMAGES}"))])
    for number, file in enumerate(images):
        face = np.asarray(Image.open(file.path).convert("RGB"))
        person = folder / f"{number:04d}"
        person.mkdir(parents=True, exist_ok=True)
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
    if _done(run):
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
