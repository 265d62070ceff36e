"""Images in, embeddings out."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast

import numpy as np

from bitface.cpu import cores
from bitface.errors import BitfaceError, BitfaceWarning, UsageError, option
from bitface.preprocess import Preprocess, Size, parse
from bitface.runtime.exact import default_engine, failure, inexact, passed_over
from bitface.runtime.model import Model, open_model
from bitface.targets.base import Settings
from bitface.targets.registry import engine_name, started
from bitface.targets.start import substitute

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from PIL.Image import Image as PillowImage

    from bitface.data.faces import FaceFile
    from bitface.graph import Network

Progress = Callable[[int, int], None]

FilePath = str | os.PathLike[str]
Images = Union[np.ndarray, Sequence[np.ndarray], FilePath, Sequence[FilePath], "PillowImage", Sequence["PillowImage"]]

# Files that are decoded before their images are embedded together.
DECODED = 64


class Embedder:
    """A model on an engine, with its preprocessing.

    Thread-safe: any number of threads may embed at once, and each gets, bit for bit, what it would get alone. A process
    forked from this one may go on with it; pickled, as for a spawned process, it starts its engine again.

    Attributes:
        preprocess: how pixels become the network's input.
        embedding_size: the length of a vector.
        fingerprint: identifies the model that made the embeddings; see `Network.fingerprint`.
        target: what was asked for, or is the default.
        engine: what computes, the target or its simulation, as whatever is kept of the embeddings says it.
    """

    def __init__(
        self,
        model: "Model | Network",
        engine: str | None = None,
        threads: int | None = None,
        precision: str = "f32",
        streams: int | None = None,
    ) -> None:
        """Args:
            model: a file that is open, or a network in memory.
            engine: a target that runs here; None: the fastest that computes the model exactly on this CPU, see
                `runtime.exact`.
            threads: how many compute, in all; None: one for each core.
            precision: of what is left in floating point, one of the target's `precisions`.
            streams: images computed at the same time; None: one for each thread, which gives the most images a
                second. With 1, all threads work on one image, which gives the shortest wait for a single one (torch
                computes a batch on one thread in any case).

        Raises:
            UsageError: an unknown engine, or one that doesn't run here.
            BitfaceError: unknown preprocessing, or a file exported for another engine.
        """
        if not isinstance(model, Model):
            model = Model.of(model)
        if model.preprocess is None:
            raise BitfaceError(
                f"{model.path}: doesn't say how its input is normalised; name it with {option('preprocess')}, "
                "and let `bitface inspect --images` find it"
            )
        self.target = default_engine(model) if engine is None else engine
        target = started(self.target)
        self.engine = engine_name(self.target)
        self.model = model
        self.preprocess: Preprocess = model.preprocess
        self.embedding_size = model.known.embedding_size
        self._settings = (threads, precision, streams)
        threads = threads or len(cores())
        self._own_threads, self._batch = target.own_threads, target.images_at_once
        self._streams = streams or threads
        self._run = model.start(self.target, Settings(self._batch, threads, precision, self._streams))
        self._workers: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        threads, precision, streams = self._settings
        return Embedder, (self.model, self.target, threads, precision, streams)

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def embed(self, images: Images, flip: bool = False, normalize: bool = False, bgr: bool = False) -> np.ndarray:
        """The embeddings of aligned face crops, float32 `[N, D]`, as the network gives them: of any length.

        Args:
            images: uint8 RGB `[N, H, W, 3]`, one `[H, W, 3]` or a list of those; Pillow's images; or paths of image
                files.
            flip: adds the mirrored image's embedding.
            normalize: gives unit vectors, whose products are cosines; one of zeros alone stays as it is.
            bgr: the arrays are BGR, as OpenCV reads them. Nothing is guessed: pixels look alike either way.

        Warns where most of the files aren't of the network's size and are resized.

        Raises:
            UsageError: `bgr` of files or of Pillow's images, which know their colours.
            BitfaceError: a file that can't be decoded (named), or crops of another size.
        """
        rows = self._embedded(images, flip, bgr)
        return unit_length(rows) if normalize else rows

    def _embedded(self, images: Images, flip: bool, bgr: bool) -> np.ndarray:
        if isinstance(images, np.ndarray):
            array = images[None] if images.ndim == 3 else images
            return self._array(array[..., ::-1] if bgr else array, flip)
        alone = isinstance(images, str | os.PathLike) or _is_pillow(images)
        listed: list[Any] = [images] if alone else list(cast("Sequence[Any]", images))
        if listed and all(isinstance(image, np.ndarray) for image in listed):
            array = _stacked([np.asarray(image) for image in listed])
            return self._array(array[..., ::-1] if bgr else array, flip)
        if bgr:
            raise UsageError("bgr is for arrays: files and Pillow's images know their colours")
        if listed and all(map(_is_pillow, listed)):
            from bitface.data.images import pixels_of

            return self._array(_stacked([pixels_of(image) for image in listed]), flip)
        paths = [image for image in listed if isinstance(image, str | os.PathLike)]
        if len(paths) < len(listed):
            kinds = sorted({type(image).__name__ for image in listed if not isinstance(image, str | os.PathLike)})
            raise BitfaceError(
                "embeds paths of image files, uint8 RGB arrays [H, W, 3] or Pillow's images, all of one kind, not "
                f"{' and '.join(kinds)} among them"
            )
        from bitface.data.faces import FaceFile, crop_sizes, resizing  # images in memory need none of it

        skipped: list[tuple[str, str]] = []
        files = [FaceFile(Path(path).parent, Path(path).name) for path in paths]
        for note in resizing(crop_sizes(files), self.preprocess.size):
            warnings.warn(note, BitfaceWarning, stacklevel=3)
        embeddings, _ = self.embed_files(files, flip, skipped)
        if skipped:
            raise BitfaceError(f"{skipped[0][0]}: {skipped[0][1]}")
        return embeddings

    def embed_files(
        self,
        files: "Sequence[FaceFile]",
        flip: bool = False,
        skipped: list[tuple[str, str]] | None = None,
        progress: Progress | None = None,
        watch: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One row per file, whatever happens: (embeddings `[N, D]`, valid `[N]`); failed files give zeros.

        Args:
            skipped: collects (path, reason) of failed files.
            watch: is shown the images of every file in their order, uint8 RGB `[n, H, W, 3]`, black where they failed.
        """
        from bitface.data.faces import batches

        rows: list[np.ndarray] = [np.zeros((0, self.embedding_size), np.float32)]
        valid: list[np.ndarray] = [np.zeros(0, bool)]
        source: Iterable[tuple[np.ndarray, np.ndarray]]
        source = batches(files, self.preprocess.size, DECODED, [] if skipped is None else skipped)
        count = 0
        for images, good in source:
            embeddings = self._array(images, flip)
            embeddings[~good] = 0
            rows.append(embeddings)
            valid.append(good)
            count += len(images)
            if watch:
                watch(images)
            if progress:
                progress(count, len(files))
        return np.concatenate(rows), np.concatenate(valid)

    def _array(self, images: np.ndarray, flip: bool) -> np.ndarray:
        try:
            embeddings = self._inputs(self.preprocess(images))
            return embeddings + self._inputs(self.preprocess(images[:, :, ::-1])) if flip else embeddings
        except ValueError as error:
            raise BitfaceError(str(error)) from error

    def _inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Runs preprocessed images, as many batches at the same time as there are streams."""
        parts = [inputs[start : start + self._batch] for start in range(0, len(inputs), self._batch)]
        if len(parts) == 1 and not self._own_threads:  # nothing is to be waited for or put together
            return self._run(parts[0])
        several = self._streams > 1 and (len(parts) > 1 or self._own_threads)
        rows = list(self._pool().map(self._run, parts) if several else map(self._run, parts))
        return np.concatenate([np.zeros((0, self.embedding_size), np.float32), *rows])

    def _pool(self) -> "ThreadPoolExecutor":
        """The threads that wait for the streams; a forked process has none of its parent's and starts its own."""
        from concurrent.futures import ThreadPoolExecutor  # fifteen milliseconds

        if self._workers is None or self._workers[0] != os.getpid():
            self._workers = os.getpid(), ThreadPoolExecutor(self._streams, "bitface")
        return self._workers[1]


def load(
    source: Union[str, os.PathLike[str], "Network", Model],
    engine: str | None = None,
    threads: int | None = None,
    preprocess: str | None = None,
    streams: int | None = None,
    size: int | str | tuple[int, int] | None = None,
    output: str | None = None,
) -> Embedder:
    """A model, ready to embed, in any number of threads: `bitface.load("model.bitface").embed(images)`.

    Args:
        source: the file of an artifact, of an exported ONNX network or of a float one; or a network in memory, such as
            `bf.load_network` gives, or the `model` of a quantized one.
        engine: a target that runs here, such as `openvino`, `onnxruntime` or `torch`; None: the fastest that is exact
            on this CPU; an exported file decides itself.
        threads, streams: see `Embedder`.
        preprocess: for float networks that don't say it themselves.
        size: of the image, for networks that leave it free: 160, or (height, width).
        output: of an ONNX file that has several: the name of the embedding.

    Warns where a size is assumed, where the engine that is named, or an exported file's, isn't exact on this CPU,
    where a simulation computes in its place, and where the fastest engine, C, didn't start.

    Raises:
        BitfaceError: no model, a damaged one, one without a known preprocessing, or for images of another size.
    """
    if isinstance(source, str | os.PathLike):
        model = open_model(Path(source), preprocess, None if size is None else Size.parse(size), output=output)
    else:
        model = source if isinstance(source, Model) else Model.of(source)
    if preprocess and not isinstance(source, str | os.PathLike):
        model = model.with_preprocess(parse(preprocess, model.known.size))
    path = model.path
    if size is None and model.known.free:
        warnings.warn(f"{path}: {model.known.free.note}", BitfaceWarning, stacklevel=2)
    embedder = Embedder(model, engine, threads, streams=streams)
    reasons = failure(model), inexact(model, embedder.target)
    for reason in (*reasons, *substitute(embedder.target, lambda: model.network)):
        if reason:
            warnings.warn(f"{path}: {reason}", BitfaceWarning, stacklevel=2)
    return embedder


def about_engine(embedder: Embedder, explicit: bool = False) -> tuple[list[str], list[str]]:
    """Notes and warnings: whether the engine is exact on this CPU, that a faster one isn't, and that a simulation runs
    in its place.

    Args:
        explicit: somebody asked for this engine.
    """
    model, engine = embedder.model, embedder.target
    notes = [] if explicit else [passed_over(model, engine)]
    said = [text for text in notes if text] + substitute(engine, lambda: model.network)
    return said, [text for text in [inexact(model, engine)] if text]


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Embeddings `[N, D]` as unit vectors; one of zeros alone stays as it is."""
    result: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return result


def _is_pillow(image: object) -> bool:
    """Whether it is one of Pillow's images; whoever has one has imported Pillow.

    Another thread may be importing it just now, and then its class isn't there yet, nor an image of it.
    """
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return kind is not None and isinstance(image, kind)


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise BitfaceError(f"images of one call have one size, not {' and '.join(map(str, sorted(shapes)[:2]))}")
    return np.stack(images)
