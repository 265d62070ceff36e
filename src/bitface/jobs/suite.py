"""`bitface evaluate --suite`: many models on many protocols, in one table.

Embeddings are kept in the output folder and so is every result, by what it depends on: a suite that was stopped goes
on where it stopped, and one that was changed computes what is new.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

import bitface
from bitface import ranks
from bitface.data.faces import crop_sizes
from bitface.errors import BitfaceError
from bitface.evaluation.evaluate import Evaluation, Questions, evaluate
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.health import degenerate
from bitface.evaluation.figures.results import Result
from bitface.evaluation.groups import read_groups
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol
from bitface.files import json_text, sha256_of, write_bytes, write_json
from bitface.inputs.contents import state_of
from bitface.inputs.embeddings import embed_kept
from bitface.inputs.models import Prepared, prepare, size_of
from bitface.inputs.overlap import Used, kept_codes, shared_faces, used_faces
from bitface.inputs.protocols import Opened, open_protocol
from bitface.inputs.suites import Suite
from bitface.progress import Steps, silent
from bitface.report.tables import latex, markdown
from bitface.results.folder import check_foreign, holds
from bitface.results.locks import holding
from bitface.results.suite import Cell, SuiteRecord, who
from bitface.runtime.machine import describe
from bitface.store import Form, Store, key_of


def run_suite(suite: Suite, steps: Steps = silent) -> dict[str, Any]:
    """Evaluates everything and writes `results.json`, `results.md` and `results.tex` to `suite.out`.

    Returns:
        The content of `results.json`.

    Raises:
        BitfaceError: a model, a protocol or its images can't be used; what has been computed is kept.
    """
    with holding(suite.out, "evaluate --suite"):
        written = ("results.json", "results.md", "results.tex")
        check_foreign(suite.out, written, ours=holds(suite.out, written[0], SuiteRecord.kind_name()))
        return _evaluated(suite, steps)


def _evaluated(suite: Suite, steps: Steps) -> dict[str, Any]:
    cells: list[Cell] = []
    notes: list[str] = []
    warnings: list[str] = []
    if suite.groups and not suite.groups.is_file():
        raise BitfaceError(f"{suite.groups}: no such file; 'groups' names a CSV of attributes")
    # Everything is opened before anything is computed: a mistake in the last line shows at once.
    protocols = [open_protocol(name, spec, suite.base) for name, spec in suite.protocols.items()]
    # A model has one size in all protocols, whatever each one's crops have.
    like = size_of(crop_sizes([file for opened in protocols for file in opened.files]))
    for opened in protocols:
        notes += opened.notes
        test = state_of(opened)
        ready: dict[str, Prepared] = {}
        results: dict[str, Result] = {}
        for model in suite.models:
            ready[model.name] = prepare(
                model.path,
                opened.files,
                suite.engine,
                suite.threads,
                model.preprocess,
                model.size,
                like,
                model.output,
            )
            notes += [f"{opened.protocol.name}, {model.name}: {text}" for text in ready[model.name].notes]
            warnings += [f"{model.name}: {text}" for text in ready[model.name].warnings]
        for gallery, probe in _sides(suite):
            cells.append(_cell(suite, opened, test, ready, gallery, probe, results, steps))
    warnings += [f"{who(cell)}: {text}" for cell in cells for text in cell.warnings]
    notes += [text for cell in cells for text in cell.result.get("notes") or ()]
    facts = {
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
    content = SuiteRecord.of(facts).to_json()
    if not ranks.is_first():
        return content
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
    test: str,
    ready: Mapping[str, Prepared],
    gallery: str,
    probe: str,
    results: dict[str, Result],
    steps: Steps,
) -> Cell:
    """A cell, kept or computed; `results` of this protocol alone are remembered by their model.

    Args:
        test: names what the protocol says and its images, see `state_of`.
    """
    baseline = suite.baseline if gallery == probe != suite.baseline else None
    facts: list[Any] = [test, suite.fars, suite.flip, suite.seed]
    facts += [(ready[side].embedder.fingerprint, ready[side].embedder.engine) for side in (gallery, probe)]
    facts += [ready[baseline].embedder.fingerprint if baseline else None, ready[gallery].thresholds]
    facts += [bitface.__version__, sha256_of(suite.groups) if suite.groups else None]
    used = {side: used_faces(ready[side].embedder.model, (), ready[side].embedder) for side in (gallery, probe)}
    facts += [key_of("codes", one.codes) if one else None for one in used.values()]
    names = {"protocol": opened.protocol.name, "gallery": gallery, "probe": probe}
    compute = partial(_computed, suite, opened, ready, used, names, results, steps)
    return ranks.kept(Store(suite.out), "cells", key_of(facts), _CELL, compute).but(**names)


_CELL: Form[Cell] = Form(
    ".json",
    lambda path: Cell.model_validate_json(path.read_bytes()),
    lambda cell, path: path.write_text(json_text(cell.to_json()), "utf-8"),
)


def _computed(
    suite: Suite,
    opened: Opened,
    ready: Mapping[str, Prepared],
    used: Mapping[str, Used | None],
    names: Mapping[str, str],
    results: dict[str, Result],
    steps: Steps,
) -> Cell:
    gallery, probe = names["gallery"], names["probe"]
    sides = dict.fromkeys((gallery, probe))
    baseline = suite.baseline if gallery == probe != suite.baseline else None
    embeddings: dict[str, Embeddings] = {}
    skipped = 0
    for side in [*sides, *([baseline] if baseline else [])]:
        embeddings[side], failures = embed_kept(
            ready[side].embedder, opened.files, Store(suite.out), suite.flip, suite.allow_skipped,
            steps(f"{opened.protocol.name}: embedding with {side}"),
        )  # fmt: skip
        skipped = len(failures) if side in sides else skipped
    problems = [text for side in sides for text in degenerate(embeddings[side].values, embeddings[side].valid)]
    if baseline and degenerate(embeddings[baseline].values, embeddings[baseline].valid):
        baseline = None
    extra: dict[str, Any] = {}
    if gallery == probe and not problems:
        evaluation = evaluate(
            opened.protocol,
            embeddings[gallery],
            embeddings.get(baseline or ""),
            _questions(suite, opened.protocol, ready[gallery]),
            results.get(baseline or ""),
        )
        results[gallery], extra = evaluation.result, _beside_figures(evaluation, ready[gallery])
        result = evaluation.result
    else:
        result = opened.protocol.score(
            embeddings[gallery], None if gallery == probe else embeddings[probe], fars=suite.fars, seed=suite.seed
        )
    warnings = list(result.warnings)
    for side in sides:
        codes = _codes(suite, opened, ready[side]) if used[side] else None
        shared, flagged = shared_faces(used[side], codes, opened.protocol.paths, embeddings[side], result)
        warnings += flagged if gallery == probe else [f"{side}: {text}" for text in flagged]
        if gallery == probe:
            extra["overlap"] = shared
    figures, content = result.figures(), {**result.to_json(curve=True), **extra}
    if problems:
        # A diagnosis in the place of numbers; those of other models are still shown.
        figures = [Figure(figure.name, None, reason=problems[0]) for figure in figures]
        content = {"degenerate": problems}
    return Cell(**names, figures=tuple(figures), result=content, warnings=tuple(warnings), skipped=skipped)


def _codes(suite: Suite, opened: Opened, ready: Prepared) -> np.ndarray:
    return kept_codes(opened.files, ready.embedder.preprocess.size, Store(suite.out))


def _questions(suite: Suite, protocol: FaceProtocol, ready: Prepared) -> Questions:
    groups = read_groups(suite.groups, protocol.paths, protocol.people()) if suite.groups else None
    return Questions(suite.fars, suite.seed, ready.thresholds, groups, mixed=False)


def _beside_figures(evaluation: Evaluation, model: Prepared) -> dict[str, Any]:
    """What a cell says beside its figures: groups, the artifact's thresholds, and the baseline."""
    content: dict[str, Any] = {"notes": list(evaluation.notes)}
    if (tables := evaluation.groups_json()) is not None:
        content["groups"] = tables["model"]
    if evaluation.stored:
        content["stored_thresholds"] = model.at_thresholds(evaluation.stored)
    if evaluation.baseline:
        content["comparison"] = evaluation.baseline.compared()
    return content
