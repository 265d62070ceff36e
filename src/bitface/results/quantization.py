"""The result of `bitface quantize`: what was made of what, and how closely it agrees with its teacher."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

import bitface
from bitface import artifact
from bitface.evaluation import agreement, diagnose
from bitface.evaluation.figures.paired import Agreement
from bitface.graph import Network
from bitface.graph.summary import summarise, tensor_table
from bitface.quant.plan import BitPlan, PlannedLayer
from bitface.results.base import Field, Section, StoredResult
from bitface.results.evaluation import EvaluationRecord
from bitface.results.sections import Files, Machine, PlannedBits, Seconds, Texts, TrainingAccount
from bitface.runtime import Embedder, Model
from bitface.runtime.exact import default_engine, is_exact, passed_over
from bitface.runtime.machine import describe
from bitface.targets.registry import computes, engine_name
from bitface.targets.start import substitute

Progress = Callable[[int, int], None]

_WEAK_AGREEMENT = 0.9


class QuantizedSource(Section):
    """The float network that was quantized; `bytes` are those of its file."""

    name: str
    fingerprint: str
    embedding_size: int
    bytes: int | None
    parameters: int
    macs: int
    preprocess: str | None
    path: str


class TensorBits(Section):
    """A tensor of the integer network, see `graph.summary.tensor_table`."""

    name: str
    role: str
    bits: int | str
    detail: str


class FloatTensor(Section):
    """What stays in floating point, and why."""

    name: str
    role: str
    reason: str


class QuantizationFaces(Section):
    """The faces that a student was made with; `manifest` is their hash."""

    kind: str
    given: int
    calibration: int
    held_out: int
    skipped: int
    resized: int = 0
    duplicates: int
    manifest: str


class LabelledEvaluation(Section):
    """An evaluation under a name of its own, as the demo keeps it."""

    label: str
    result: EvaluationRecord


class QuantizationRecord(StoredResult):
    """A quantized network.

    Attributes:
        bytes: file name → bytes on disk; float_bytes: of the weights, were each a float32.
        method: `ptq` or `qat`; kernels: see `inputs.training.kernels`.
        agreement: engine → cosines to the teacher on held-out faces.
        engine: that runs the student by default; bitface 0.1.0 spoke for OpenVINO.
        evaluation: in a demo only.
    """

    kind: Literal["quantization"] = "quantization"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    model: QuantizedSource
    bits: str
    plan: dict[str, Any]
    layers: tuple[PlannedBits, ...]
    tensors: tuple[TensorBits, ...]
    unquantized: tuple[FloatTensor, ...]
    bytes: dict[str, int]
    float_bytes: int
    compression: float
    machine: Machine
    method: str
    seed: int
    agreement: dict[str, Agreement]
    faces: QuantizationFaces
    calibration: dict[str, Any]
    kernels: str | None = None
    training: TrainingAccount | None
    engine: str = "openvino"
    notes: Texts
    warnings: Texts
    seconds: Seconds
    files: Files = Field(default_factory=dict)
    evaluation: tuple[LabelledEvaluation, ...] = ()

    @property
    def engine_agreement(self) -> Agreement:
        """That of the engine which the result speaks for."""
        return self.agreement[self.engine]


def describe_student(
    network: Network, details: artifact.Artifact, plan: BitPlan, layers: list[PlannedLayer], sizes: dict[str, int]
) -> dict[str, Any]:
    """The part of `result.json` that says what was made of what.

    Args:
        sizes: file name → bytes on disk.
    """
    before, student = summarise(network), details.network
    tensors, unquantized = tensor_table(student)
    return {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            **details.teacher,
            "bytes": network.source_bytes,
            "parameters": before.parameters,
            "macs": before.macs,
            "preprocess": network.preprocess.name if network.preprocess else None,
        },
        "bits": plan.word,
        "plan": plan.to_json(),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "weight_bits": layer.bits.weight if layer.kind in ("Conv", "Linear") else None,
                "activation_bits": layer.bits.activation,
                "reason": layer.reason,
                "parameters": parameters,
                "bytes": -(-parameters * layer.bits.weight // 8),
            }
            for layer, parameters in zip(layers, _weights(student, layers), strict=True)
        ],
        "tensors": tensors,
        "unquantized": unquantized,
        "bytes": sizes,
        "float_bytes": before.weight_bytes,
        "compression": before.weight_bytes / sizes["model.bitface"],
        "machine": describe(),
    }


def measure_agreement(
    network: Network,
    details: artifact.Artifact,
    faces: np.ndarray,
    targets: Sequence[str],
    progress: Progress | None = None,
) -> tuple[str, dict[str, dict[str, Any]], list[str], list[str]]:
    """Cosines between the float teacher and the student on each engine, over faces that didn't calibrate.

    Args:
        targets: that it is written for; on those that run here, or are simulated, it is measured, and on what runs it
            by default.

    Returns:
        The engine that runs the student by default here; engine → {"summary": `Agreement.to_json()`, "cosines": one
        per face}; notes and warnings in plain words. Of an engine that isn't exact on this CPU the figures say more
        of the CPU than of the student: there is a note instead of warnings.
    """
    reference = Embedder(Model(Path(network.name), "float", network)).embed(faces)
    model = Model(Path(f"{network.name}.bitface"), "artifact", details.network, details=details)
    result: dict[str, dict[str, Any]] = {}
    default = default_engine(model)
    notes, warnings = [text for text in [passed_over(model, default)] if text], list[str]()
    engines = [name for name in targets if computes(name)]
    engines += [default] if default not in engines else []
    for index, engine in enumerate(engines):
        embeddings = Embedder(model, engine).embed(faces)
        compared = agreement(reference, embeddings)
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12) for rows in (reference, embeddings)]
        cosines = [round(float(value), 5) for value in (unit[0] * unit[1]).sum(1)]
        result[engine_name(engine)] = {"summary": compared.to_json(), "cosines": cosines}
        notes += substitute(engine, lambda: model.network)
        if progress:
            progress(index + 1, len(engines))
        if not is_exact(model, engine):
            continue
        if compared.mean < _WEAK_AGREEMENT:
            warnings.append(
                f"{engine}: the student agrees with its teacher only by {compared.mean:.3f} (mean cosine of held-out "
                "faces); expect other decisions, and use more bits"
            )
        warnings += [f"{engine}: {text}" for text in diagnose(embeddings) if len(faces) > 1]
    return default, result, notes, warnings


def agreed(result: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The engine that a quantization which has just run speaks for, and the agreement there."""
    engine = result["engine"]
    return engine, result["agreement"][engine]


def heavy_edges(layers: list[PlannedLayer], student: Network) -> list[str]:
    """A note where a layer that is exempt from the plan takes most of the bytes."""
    sizes = {
        layer.name: count * layer.bits.weight / 8
        for layer, count in zip(layers, _weights(student, layers), strict=True)
    }
    return [
        f"{layer.name} ({layer.reason}) stays at {layer.bits.weight} bits and takes {sizes[layer.name] / total:.0%} of "
        f"the weights' bytes; --{layer.reason.split()[0]} plan gives it the plan's bits"
        for layer in layers
        if layer.reason in ("first layer", "last layer")
        and (total := sum(sizes.values()))
        and sizes[layer.name] > total / 2
        and layer.bits.weight > min(other.bits.weight for other in layers)
    ]


def _weights(student: Network, layers: list[PlannedLayer]) -> list[int]:
    modules = dict(student.graph.named_modules())
    return [getattr(getattr(modules.get(layer.name), "weight", None), "numel", lambda: 0)() for layer in layers]
