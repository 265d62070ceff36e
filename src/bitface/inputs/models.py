"""Models made ready for crops: their size, their preprocessing, their engine. Integer networks need no torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitface.data.faces import FaceFile, common_size, crop_sizes, load_faces, resizing
from bitface.graph.image_size import ASSUMED, FreeSize
from bitface.preprocess import Size
from bitface.runtime import Embedder, Model, open_model
from bitface.runtime.embedder import about_engine
from bitface.runtime.engine_differences import FACES, engine_differences

if TYPE_CHECKING:
    from bitface.evaluation.evaluate import RatesAt

_RANKED = 48


@dataclass(frozen=True)
class Prepared:
    """A model ready to embed, and what is to be said about how its size and its preprocessing were settled."""

    embedder: Embedder
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def thresholds(self) -> list[tuple[float, float]]:
        """Those in the artifact, as (the FAR that each is for, threshold)."""
        stored = self.embedder.model.thresholds or []
        return [(float(one["far"]), float(one["threshold"])) for one in stored]

    def at_thresholds(self, rates: Sequence["RatesAt"]) -> list[dict[str, Any]]:
        """Both error rates at those in the artifact, as plain JSON values; extrapolated ones are marked."""
        stored = self.embedder.model.thresholds or []
        marks = [{"extrapolated": True} if one.get("extrapolated") else {} for one in stored]
        return [one.to_json() | mark for one, mark in zip(rates, marks, strict=False)]  # no rates: none decides here


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
        size, like, output: see `open_for`.

    Raises:
        BitfaceError: the model can't be used, or its preprocessing can't be settled.
    """
    model, notes = open_for(path, files, preprocess, size, like, output)
    warnings = list(model.known.warnings)
    if not model.integer:
        from bitface.inputs.faces import settle_preprocess  # an integer network says its own, where there is no torch

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


def differences(embedder: Embedder, files: Sequence[FaceFile]) -> dict[str, dict[str, Any]]:
    """See `engine_differences`; on some of the images."""
    sample = files[:: max(1, len(files) // FACES)][:FACES]
    return engine_differences(embedder, load_faces(sample, embedder.preprocess.size).images)


def size_of(sizes: Mapping[Size, int]) -> FreeSize:
    """The size of a network that leaves it free, for crops of these sizes: theirs, where nearly all have one."""
    common = common_size(sizes)
    return FreeSize(common, "the size of the crops") if common else ASSUMED


def open_for(
    path: Path | Model,
    files: Sequence[FaceFile],
    preprocess: str | None = None,
    size: Size | None = None,
    like: FreeSize | None = None,
    output: str | None = None,
) -> tuple[Model, list[str]]:
    """A model that is to read these crops, open or not, and what there is to say of it and of their size.

    Args:
        preprocess, size, output: see `graph.load_network`.
        like: the size of a network that leaves it free, where nobody asks for one; None: the crops' own.

    Raises:
        BitfaceError: the model can't be used.
    """
    sizes = crop_sizes(files)
    model = path
    if not isinstance(model, Model):
        model = open_model(model, preprocess, size, lambda: like or size_of(sizes), output)
    return model, [*model.known.notes, *resizing(sizes, model.known.size)]
