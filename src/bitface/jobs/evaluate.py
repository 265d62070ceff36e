"""`bitface evaluate`: a model and a pair list in, accuracy and operating points out."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface.data.duplicates import codes_of
from bitface.data.faces import FaceFile, check_skipped, load_faces
from bitface.errors import BitfaceError
from bitface.evaluation import FARS, VerificationResult, read_pairs, verify
from bitface.jobs.faces import settle_preprocess
from bitface.jobs.overlap import overlap, used_faces
from bitface.runtime import Embedder, open_model
from bitface.runtime.embedder import Engine
from bitface.runtime.machine import describe

Progress = Callable[[int, int], None]
_RANKED = 48


def evaluate_model(
    model_path: Path,
    pairs_csv: Path,
    root: Path,
    *,
    all_pairs: bool = False,
    flip: bool = False,
    engine: Engine | None = None,
    fars: Sequence[float] = FARS,
    preprocess: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    allow_skipped: bool = False,
    used: Sequence[Path] = (),
    progress: Progress | None = None,
) -> tuple[dict[str, Any], VerificationResult]:
    """Verification over a pair list (see `evaluation.verify`).

    Args:
        used: folders of the faces that the model was made with, to flag what the test shares with them; see
            `jobs.overlap.used_faces`.

    Returns:
        The content of the JSON file, and the result itself.

    Raises:
        BitfaceError: the model, the list or the images can't be used.
    """
    pairs = read_pairs(pairs_csv, root)
    model = open_model(model_path, preprocess)
    files = [FaceFile(Path(root), path) for path in pairs.paths]
    notes = list(model.network.notes)
    warnings: list[str] = []
    if not model.integer:
        step = max(1, len(files) // _RANKED)
        sample = load_faces(files[::step][:_RANKED], model.network.size).images
        network, more, warnings = settle_preprocess(model.network, sample, preprocess)
        notes += more
        assert network.preprocess is not None
        model = model.with_preprocess(network.preprocess)
    embedder = Embedder(model, engine or model.profile or "openvino", threads)
    skipped: list[tuple[str, str]] = []
    known = used_faces(model, used, embedder)
    codes: list[np.ndarray] = []
    watch = (lambda images: codes.append(codes_of(images))) if known else None
    started = time.perf_counter()
    embeddings, valid = embedder.embed_files(files, flip, skipped, progress, watch)
    embedding_seconds = time.perf_counter() - started
    check_skipped(skipped, len(files), allow_skipped)
    if not np.any(valid):
        raise BitfaceError(f"{root}: not one image of the list can be used; the first: {skipped[0][1]}")
    result = verify(embeddings, pairs, fars, all_pairs, valid=valid, seed=seed)
    shared: dict[str, Any] | None = None
    if known:
        strictest = [point.threshold for point in result.tar if point.threshold is not None]
        # An image that can't be read shows nobody.
        names = [path for path, good in zip(pairs.paths, valid, strict=True) if good]
        shared, flagged = overlap(
            known, np.concatenate(codes)[valid], names, embeddings[valid], max(strictest, default=None)
        )
        warnings += flagged
    content = {
        "bitface": bitface.__version__,
        "model": str(model_path),
        "kind": model.kind,
        "fingerprint": embedder.fingerprint,
        "engine": embedder.engine,
        "precision": "integer" if model.integer else "f32",
        "preprocess": embedder.preprocess.name,
        "flip": flip,
        "pairs": str(pairs_csv),
        **result.to_json(curve=True),
        "overlap": shared,
        "notes": notes,
        "warnings": [*warnings, *result.warnings],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "seconds": {
            "embedding": round(embedding_seconds, 2),
            "scoring": round(time.perf_counter() - started - embedding_seconds, 2),
        },
        "machine": describe(),
    }
    return content, result
