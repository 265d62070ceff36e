"""Protocols, and models on them: figures that print themselves, with their intervals."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from bitface.api.networks import load_network
from bitface.errors import BitfaceWarning, UsageError, nearest
from bitface.evaluation import FARS
from bitface.evaluation.evaluate import Evaluation
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.operating import check_fars
from bitface.graph import Network
from bitface.inputs.models import prepare
from bitface.inputs.protocols import Opened, asked_protocol, open_protocol, read_protocol
from bitface.jobs.evaluate import EvaluateOptions
from bitface.jobs.evaluate import evaluate as evaluated
from bitface.progress import shown
from bitface.report.tables import percent
from bitface.runtime import Model
from bitface.runtime.quantized import QuantizedNetwork

Tested = str | os.PathLike[str] | nn.Module | Network | QuantizedNetwork


@dataclass(frozen=True, eq=False)
class Figures:
    """What a protocol finds out of a model. `print` shows a table, `result["TAR@FAR 1e-4"]` is one figure.

    Attributes:
        model, protocol: what tables call them.
        figures: each with its 95 % interval.
        evaluation: everything: operating points, the comparison with a baseline, groups.
        overlap: what the test shares with the faces that the model was made with; None where nobody knows them.
        notes, warnings: in plain words.
    """

    model: str
    protocol: str
    figures: tuple[Figure, ...]
    evaluation: Evaluation = field(repr=False)
    overlap: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Figure:
        """A figure by its name. Raises UsageError, with the nearest one, where there is none."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        names = [figure.name for figure in self.figures]
        raise UsageError(f"there is no figure '{name}'{nearest(name, names)} (there are {', '.join(names)})")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "model": self.model,
            "protocol": self.protocol,
            "figures": [figure.to_json() for figure in self.figures],
            **self.evaluation.result.to_json(),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        width = max(len(figure.name) for figure in self.figures)
        beside = self.evaluation.baseline
        references = {figure.name: figure for figure in beside.result.figures()} if beside else {}
        lines = [f"{self.model} on {self.protocol}, per cent with 95 % intervals"]
        for figure in self.figures:
            line = f"  {figure.name:<{width}}  {percent(figure, intervals=True)}"
            line += f"  (baseline {percent(references[figure.name])})" if figure.name in references else ""
            lines.append(line + (f"  {figure.reason}" if figure.value is None and figure.reason else ""))
        return "\n".join([*lines, *(f"note: {text}" for text in self.notes)])


def pairs(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    part: str | None = None,
    all_pairs: bool = False,
) -> Opened:
    """A list of verification pairs in whatever form its set comes in, or a `.bin` pack.

    Args:
        root: the folder that the list's paths start at; a pack needs none.
        part: of lists that hold several, such as `cfp-fp`.
        all_pairs: TAR, AUC and EER over all pairs of the list's images.

    Raises:
        BitfaceError, UsageError: the list or its images can't be found or read.
    """
    return asked_protocol(None, Path(path), None if root is None else Path(root), part, all_pairs)


def protocol(
    description: str | os.PathLike[str] | Mapping[str, Any], name: str = "protocol", base: str | os.PathLike[str] = "."
) -> Opened:
    """Any other protocol: people, videos, templates, galleries, distractors, or another package's.

    Args:
        description: `FILE.yaml`, `FILE.yaml:NAME` of a file with several, or its keys as a suite has them.
        name: what tables call it; of a file, the file's.
        base: the folder that paths of the keys start at.

    Raises:
        BitfaceError, UsageError: the description makes no sense, or its files can't be read.
    """
    if isinstance(description, Mapping):
        return open_protocol(name, description, Path(base))
    return read_protocol(os.fspath(description))


def evaluate(
    model: Tested,
    protocol: Opened,
    baseline: Tested | None = None,
    fars: Sequence[float] = FARS,
    groups: str | os.PathLike[str] | None = None,
    used: Sequence[str | os.PathLike[str]] = (),
    flip: bool = False,
    seed: int = 0,
) -> Figures:
    """A model on a protocol, beside another model where one is named.

    Args:
        model, baseline: a file, a network in memory, or a quantized one.
        protocol: of `bf.pairs` or `bf.protocol`.
        fars: false accept rates at which to report the true accept rate.
        groups: a CSV of attributes; `evaluation.groups` then holds every figure for each group.
        used: folders of the faces that the model was made with, to flag what the test shares with them.
        flip: adds the mirrored image's embedding.
        seed: of whatever is resampled.

    Warns of degenerate embeddings and of a preprocessing that the faces contradict.

    Raises:
        BitfaceError, UsageError: a model or an image can't be used, or a FAR makes no sense.
    """
    if not isinstance(protocol, Opened):
        raise UsageError(f"a model is evaluated on bf.pairs(…) or bf.protocol(…), not on {protocol!r}")
    options = EvaluateOptions(
        check_fars(list(fars)),
        seed,
        flip,
        used=[Path(one) for one in used],
        groups=None if groups is None else Path(groups),
    )
    with shown() as steps:
        ready = prepare(_opened(model), protocol.files)
        beside = None if baseline is None else prepare(_opened(baseline), protocol.files)
        report = evaluated(protocol, ready, beside, options, steps)
    result = report.evaluation.result
    alarms = (*ready.warnings, *report.warnings, *(beside.warnings if beside else ()), *result.warnings)
    for text in alarms:
        warnings.warn(text, BitfaceWarning, stacklevel=2)
    return Figures(
        _called(model),
        protocol.protocol.name,
        tuple(result.figures()),
        report.evaluation,
        report.overlap,
        tuple(dict.fromkeys([*ready.notes, *report.notes])),
        alarms,
    )


def _opened(model: Tested) -> Path | Model:
    if isinstance(model, QuantizedNetwork):
        return model.model
    if isinstance(model, nn.Module | Network):
        return Model.of(load_network(model))
    return Path(model)


def _called(model: Tested) -> str:
    if isinstance(model, QuantizedNetwork):
        return f"{model.teacher.name} {model.bits}"
    if isinstance(model, Network):
        return model.name
    return type(model).__name__ if isinstance(model, nn.Module) else Path(model).name
