"""`bitface evaluate --suite`: many models on many protocols, in one table.

Embeddings are kept in the output folder and so is every result, by what it depends on: a suite that was stopped goes
on where it stopped, and one that was changed computes what is new.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bitface
from bitface.data.faces import crop_sizes
from bitface.errors import BitfaceError
from bitface.evaluation import VerificationResult
from bitface.evaluation.figures.health import degenerate
from bitface.evaluation.groups import by_group, read_groups
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol, Figure, Result
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.files import sha256_of, write_bytes, write_json
from bitface.inputs.embeddings import Prepared, embed_kept, prepare
from bitface.inputs.faces import size_of
from bitface.inputs.protocols import Opened, open_protocol
from bitface.inputs.suites import Suite
from bitface.progress import Steps, silent
from bitface.report.tables import latex, markdown
from bitface.results.locks import holding
from bitface.results.suite import Cell, who
from bitface.runtime.machine import describe


def run_suite(suite: Suite, steps: Steps = silent) -> dict[str, Any]:
    """Evaluates everything and writes `results.json`, `results.md` and `results.tex` to `suite.out`.

    Returns:
        The content of `results.json`.

    Raises:
        BitfaceError: a model, a protocol or its images can't be used; what has been computed is kept.
    """
    with holding(suite.out, "evaluate --suite"):
        return _evaluated(suite, steps)


def _evaluated(suite: Suite, steps: Steps) -> dict[str, Any]:
    cells: list[Cell] = []
    notes: list[str] = []
    warnings: list[str] = []
    if suite.groups and not suite.groups.is_file():
        raise BitfaceError(f"{suite.groups}: no such file; 'groups' names a CSV of attributes")
    # Everything is opened before anything is computed: a mistake in the last line shows at once.
    protocols = [(spec, open_protocol(name, spec, suite.base)) for name, spec in suite.protocols.items()]
    # A model has one size in all protocols, whatever each one's crops have.
    like = size_of(crop_sizes([file for _, opened in protocols for file in opened.files]))
    for spec, opened in protocols:
        notes += opened.notes
        ready: dict[str, Prepared] = {}
        for model in suite.models:
            ready[model.name] = prepare(
                model.path, opened.files, suite.engine, suite.threads, model.preprocess, model.size, like
            )
            notes += [f"{opened.protocol.name}, {model.name}: {text}" for text in ready[model.name].notes]
            warnings += [f"{model.name}: {text}" for text in ready[model.name].warnings]
        for gallery, probe in _sides(suite):
            cells.append(_cell(suite, opened, spec, ready, gallery, probe, steps))
    warnings += [f"{who(cell)}: {text}" for cell in cells for text in cell.warnings]
    content = {
        "bitface": bitface.__version__,
        "models": {model.name: str(model.path) for model in suite.models},
        "baseline": suite.baseline,
        "fars": list(suite.fars),
        "flip": suite.flip,
        "cells": [cell.to_json() for cell in cells],
        "skipped": {cell.protocol: cell.skipped for cell in cells if cell.skipped},
        "notes": list(dict.fromkeys(notes)),
        "warnings": list(dict.fromkeys(warnings)),
        "machine": describe(),
    }  # fmt: skip
    write_json(suite.out / "results.json", content)
    write_bytes(suite.out / "results.md", markdown(cells).encode())
    write_bytes(suite.out / "results.tex", latex(cells).encode())
    return content


def _sides(suite: Suite) -> list[tuple[str, str]]:
    """(gallery, probe) of every cell."""
    names = [model.name for model in suite.models]
    pairs = [(name, name) for name in names]
    if suite.mixed and suite.baseline is not None:
        others = [name for name in names if name != suite.baseline]
        pairs += [side for other in others for side in ((suite.baseline, other), (other, suite.baseline))]
    return pairs


def _cell(
    suite: Suite,
    opened: Opened,
    spec: Mapping[str, Any],
    ready: Mapping[str, Prepared],
    gallery: str,
    probe: str,
    steps: Steps,
) -> Cell:
    sides = dict.fromkeys((gallery, probe))
    facts = [
        opened.protocol.name,
        sorted(spec.items(), key=str),
        opened.protocol.paths,
        suite.fars,
        suite.flip,
        suite.seed,
    ]
    facts += [(ready[side].embedder.fingerprint, ready[side].embedder.engine) for side in (gallery, probe)]
    facts += [bitface.__version__, sha256_of(suite.groups) if suite.groups else None]
    path = (
        suite.out / "cells" / f"{hashlib.sha256(repr(facts).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"
    )
    kept = _kept(path)
    if kept is not None:
        return Cell(
            opened.protocol.name, gallery, probe, kept["figures"], kept["result"], kept["warnings"], kept["skipped"]
        )
    found: dict[str, Embeddings] = {}
    skipped = 0
    for side in sides:
        found[side], missing = embed_kept(
            ready[side].embedder, opened.files, suite.out / "embeddings", suite.flip, suite.allow_skipped,
            steps(f"{opened.protocol.name}: embedding with {side}"),
        )  # fmt: skip
        skipped = len(missing)
    result = opened.protocol.score(
        found[gallery], None if gallery == probe else found[probe], fars=suite.fars, seed=suite.seed
    )
    figures, content = result.figures(), result.to_json(curve=True)
    broken = [text for side in sides for text in degenerate(found[side].values, found[side].valid)]
    if broken:
        # A diagnosis in the place of numbers; those of other models are still shown.
        figures = [Figure(figure.name, None, reason=broken[0]) for figure in figures]
        content = {"degenerate": broken}
    elif suite.groups and len(sides) == 1:
        content["groups"] = _by_group(suite.groups, opened.protocol, found[gallery], result, suite.seed)
    cell = Cell(
        opened.protocol.name, gallery, probe, [figure.to_json() for figure in figures], content,
        list(result.warnings), skipped,
    )  # fmt: skip
    write_json(path, cell.to_json())
    return cell


def _by_group(
    path: Path, protocol: FaceProtocol, found: Embeddings, result: Result, seed: int
) -> list[dict[str, Any]] | None:
    """Every figure for each group, of a list of pairs; None for other protocols."""
    if not isinstance(protocol, PairProtocol) or not isinstance(result, VerificationResult):
        return None
    groups = read_groups(path, protocol.paths, protocol.pairs.identities)
    return [row.to_json() for row in by_group(protocol, found, groups, result, seed)]


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if {"figures", "result", "warnings", "skipped"} <= set(content) else None
    except (OSError, ValueError, TypeError):
        return None  # not there, or damaged: computed anew
