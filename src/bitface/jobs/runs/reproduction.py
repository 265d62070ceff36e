"""What `bitface reproduce` is to do: which rows from what, checked before anything is computed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bitface.data.assets import fetch
from bitface.data.face_source import FaceSource
from bitface.data.faces import find_images
from bitface.data.sources import GivenFaces, PackedFaces, Source, opened
from bitface.device import device_of
from bitface.errors import BitfaceError, UsageError, flag, nearest, option
from bitface.files import path_fields, read_yaml
from bitface.inputs import papers, recipes
from bitface.inputs.papers import Row, Selection
from bitface.inputs.protocols import open_protocol
from bitface.jobs.quantize import QuantizeRequest, request_of
from bitface.results.folder import is_finished
from bitface.runtime import open_float

SMALL_IMAGES = 96
_SMALL = {"epochs": 0.01, "min_steps": 20, "batch": 16, "milestones": [0.5, 0.8]}
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
            Run(row, seed, request.out / f"{folder_word(row.title)}-{seed}")
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
            source = replace(source, max_images=SMALL_IMAGES)
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


def folder_word(title: str) -> str:
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
        notes.append(f"small: {networks} in the place of every network, {SMALL_IMAGES} faces ({faces}), 20 steps a row")
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
    return request.out / f"{folder_word(name)}-float" / "model.onnx"


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
    sizes = [_bytes(reproduction.models[run.row.network]) for run in reproduction.runs if not is_finished(run.folder)]
    needed, free = _SIZES * sum(sizes), shutil.disk_usage(place).free
    if needed > free:
        raise BitfaceError(f"{place}: has {free / 1e9:.1f} GB left, and the rows take some {needed / 1e9:.1f} GB")


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 200 << 20
