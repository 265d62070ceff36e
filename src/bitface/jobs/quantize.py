"""`bitface quantize`: a network and faces in; artifact, exports, result and report out."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface import artifact, report
from bitface.data.faces import manifest_hash
from bitface.errors import BitfaceError
from bitface.evaluation import agreement, diagnose
from bitface.files import write_bytes, write_json
from bitface.graph import Network, load_network
from bitface.graph.onnx_writer import PROFILES
from bitface.graph.summary import summarise, tensor_table
from bitface.jobs import faces as job_faces
from bitface.quant import BitPlan, Calibration, quantize
from bitface.quant.plan import PlannedLayer
from bitface.runtime import Embedder, Model
from bitface.runtime.machine import describe
from bitface.runtime.model import export

Progress = Callable[[int, int], None]
# Called with the name of a step; gives what its progress is reported to.
Steps = Callable[[str], Progress]

_WEAK_AGREEMENT = 0.9


@dataclass(frozen=True)
class QuantizeRequest:
    """What to quantize, with what, and how; the options of `bitface quantize`."""

    model: Path
    images: list[Path]
    out: Path
    plan: BitPlan = field(default_factory=BitPlan)
    image_list: Path | None = None
    max_images: int | None = None
    preprocess: str | None = None
    seed: int = 0
    allow_skipped: bool = False
    data_kind: str = "real or unknown"
    calibration: Calibration = field(default_factory=Calibration)


def quantize_model(request: QuantizeRequest, steps: Steps | None = None) -> dict[str, Any]:
    """Makes `model.bitface`, both ONNX exports, `result.json` and `report.html` in `request.out`.

    The files appear together, after everything has been computed and measured.

    Returns:
        The content of `result.json`.

    Raises:
        BitfaceError, UsageError: whatever of the request can't be carried out; then `out` holds no new file, except
            `skipped.csv`, which lists images that can't be used.
    """
    steps = steps or (lambda name: lambda done, total: None)
    plan = request.plan
    if request.out.exists() and not request.out.is_dir():
        raise BitfaceError(f"{request.out}: is a file; --out names a folder")
    clock = _Clock()
    network = load_network(request.model, request.preprocess)
    clock.lap("import")
    faces = job_faces.gather(
        request.images,
        network.size,
        request.image_list,
        request.max_images,
        request.seed,
        request.allow_skipped,
        request.out / "skipped.csv",
        steps("reading faces"),
    )
    clock.lap("faces")
    network, notes, warnings = job_faces.settle_preprocess(network, faces.calibration, request.preprocess)
    warnings += job_faces.few(len(faces.calibration))
    clock.lap("preprocessing")
    student, layers = quantize(network, faces.calibration, plan, request.calibration, steps("calibrating"))
    clock.lap("quantize")
    teacher = {
        "name": network.name,
        "fingerprint": network.fingerprint(),
        "embedding_size": network.embedding_size,
    }
    details = artifact.Artifact(
        student,
        plan.to_json(),
        teacher,
        {
            "kind": request.data_kind,
            "images": len(faces.calibration),
            "manifest": manifest_hash(faces.calibration),
            "privacy": "no image and no name is stored",
        },
        card={"bitface": bitface.__version__, "method": "ptq", "seed": request.seed},
    )
    measured, alarms = measure_agreement(network, details, faces.held_out, steps("checking held-out faces"))
    warnings += alarms
    clock.lap("agreement")
    notes += _heavy_edges(layers, student)
    with _staging(request.out) as folder:
        sizes = {"model.bitface": artifact.write(folder / "model.bitface", details)}
        for profile in PROFILES:
            name = f"model.{profile}.onnx"
            data = export(details, profile).SerializeToString()
            write_bytes(folder / name, data)
            sizes[name] = len(data)
        clock.lap("export")
        before = summarise(network)
        tensors, unquantized = tensor_table(student)
        bits = {layer.name: layer for layer in layers}
        result = {
            "bitface": bitface.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": {
                **teacher,
                "path": str(request.model),
                "bytes": network.source_bytes,
                "parameters": before.parameters,
                "macs": before.macs,
                "preprocess": network.preprocess.name if network.preprocess else None,
            },
            "bits": str(plan.bits),
            "method": "ptq",
            "seed": request.seed,
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
                for layer, parameters in ((bits[name], count) for name, count in _weights(student, list(bits)))
            ],
            "tensors": tensors,
            "unquantized": unquantized,
            "bytes": sizes,
            "float_bytes": before.weight_bytes,
            "compression": before.weight_bytes / sizes["model.bitface"],
            "agreement": {engine: values["summary"] for engine, values in measured.items()},
            "faces": {
                "kind": request.data_kind,
                "given": faces.given,
                "calibration": len(faces.calibration),
                "held_out": len(faces.held_out),
                "skipped": faces.skipped,
                "resized": faces.resized,
                "duplicates": faces.duplicates,
                "manifest": details.data["manifest"],
            },
            "notes": [*network.notes, *notes],
            "warnings": warnings,
            "seconds": clock.seconds,
            "machine": describe(),
        }
        page = report_of([result], title=f"{network.name} {plan.bits}", cosines=measured)
        report.write(folder / "report.html", page)
        write_json(folder / "result.json", result)
    return result


def measure_agreement(
    network: Network, details: artifact.Artifact, faces: np.ndarray, progress: Progress | None = None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Cosines between teacher (OpenVINO, float32) and student on each engine, over faces that didn't calibrate.

    Returns:
        engine → {"summary": `Agreement.to_json()`, "cosines": one per face}, and warnings in plain words.
    """
    reference = Embedder(Model(Path(network.name), "float", network), "openvino").embed(faces)
    model = Model(Path(f"{network.name}.bitface"), "artifact", details.network, details=details)
    result: dict[str, dict[str, Any]] = {}
    warnings = []
    for index, engine in enumerate(PROFILES):
        embeddings = Embedder(model, engine).embed(faces)
        compared = agreement(reference, embeddings)
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12) for rows in (reference, embeddings)]
        cosines = [round(float(value), 5) for value in (unit[0] * unit[1]).sum(1)]
        result[engine] = {"summary": compared.to_json(), "cosines": cosines}
        if compared.mean < _WEAK_AGREEMENT:
            warnings.append(
                f"{engine}: the student agrees with its teacher only by {compared.mean:.3f} (mean cosine of held-out "
                "faces); expect other decisions, and use more bits"
            )
        warnings += [f"{engine}: {text}" for text in diagnose(embeddings) if len(faces) > 1]
        if progress:
            progress(index + 1, len(PROFILES))
    return result, warnings


def report_of(
    results: list[dict[str, Any]],
    title: str,
    cosines: dict[str, dict[str, Any]] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """The report's input (see `report.render`) for the results of one teacher."""
    first = results[0]
    models = []
    for result in results:
        shown = {
            engine: {**summary, **({"cosines": cosines[engine]["cosines"]} if cosines else {})}
            for engine, summary in result["agreement"].items()
        }
        models.append(
            {
                "name": f"{result['model']['name']} {result['bits']}",
                "bits": result["bits"],
                "files": [{"name": name, "bytes": size} for name, size in result["bytes"].items()],
                "float_bytes": result["float_bytes"],
                "agreement": shown,
                "layers": result["layers"],
                "tensors": result["tensors"],
                "unquantized": result["unquantized"],
                "data": result["faces"],
                "plan": result["plan"],
                "seconds": result["seconds"],
                **({"evaluation": result["evaluation"]} if "evaluation" in result else {}),
            }
        )
    headline = sections.pop("headline", None) or _headline(first)
    return {
        "title": title,
        "subtitle": f"{first['model']['parameters']:,} parameters, {first['model']['macs'] / 1e6:,.0f} M "
        f"multiply-adds, "
        f"{first['model']['embedding_size']}-d embeddings",
        "created": first["created"],
        "headline": headline,
        "warnings": list(dict.fromkeys(text for result in results for text in result["warnings"])),
        "notes": list(dict.fromkeys(text for result in results for text in result["notes"])),
        "models": models,
        "provenance": {
            "model": first["model"]["path"],
            "teacher fingerprint": first["model"]["fingerprint"],
            "preprocessing": str(first["model"]["preprocess"]),
            "calibration faces (manifest)": first["faces"]["manifest"],
            "seed": str(first["seed"]),
            **first["machine"],
        },
        **sections,
    }


def _headline(result: dict[str, Any]) -> list[dict[str, str]]:
    agreed = result["agreement"]["openvino"]
    return [
        {
            "label": "size",
            "value": f"{result['bytes']['model.bitface'] / 1e6:.2f} MB",
            "note": f"{result['compression']:.1f}x smaller than the float32 weights",
        },
        {
            "label": "agreement with the teacher",
            "value": f"{agreed['mean']:.4f}",
            "note": f"mean cosine of {agreed['count']} held-out faces, in OpenVINO's integer kernels; "
            f"minimum {agreed['minimum']:.4f}",
        },
        {
            "label": "left in floating point",
            "value": str(len(result["unquantized"])),
            "note": "tensors, each listed below with the reason",
        },
    ]


def _heavy_edges(layers: list[PlannedLayer], student: Network) -> list[str]:
    """A note where a layer that is exempt from the plan takes most of the bytes."""
    counts = dict(_weights(student, [layer.name for layer in layers]))
    sizes = {layer.name: counts[layer.name] * layer.bits.weight / 8 for layer in layers}
    return [
        f"{layer.name} ({layer.reason}) stays at {layer.bits.weight} bits and takes {sizes[layer.name] / total:.0%} of "
        f"the weights' bytes; --{layer.reason.split()[0]} plan gives it the plan's bits"
        for layer in layers
        if layer.reason in ("first layer", "last layer")
        and (total := sum(sizes.values()))
        and sizes[layer.name] > total / 2
        and layer.bits.weight > min(other.bits.weight for other in layers)
    ]


def _weights(student: Network, names: list[str]) -> list[tuple[str, int]]:
    modules = dict(student.graph.named_modules())
    counts = {name: getattr(getattr(modules.get(name), "weight", None), "numel", lambda: 0)() for name in names}
    return list(counts.items())


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


class _staging:
    """A folder whose files move to `out` together when the block ends well."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> Path:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=".unfinished.", dir=self.out))
        except OSError as error:
            raise BitfaceError(f"{self.out}: can't be written ({error.strerror}); choose another folder") from error
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for file in sorted(self.folder.iterdir()):
                    file.replace(self.out / file.name)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
