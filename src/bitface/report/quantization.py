"""The report's input for the results of `bitface quantize`."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitface.report import format
from bitface.report.remarks import Remarks
from bitface.results.quantization import QuantizationRecord
from bitface.targets.registry import title_of


def report_of(
    results: Sequence[QuantizationRecord],
    title: str,
    cosines: Mapping[str, Mapping[str, Any]] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """The report's input (see `report.render`) for the results of one teacher."""
    first, remarks = results[0], Remarks()
    headline = sections.pop("headline", None) or _headline(first)
    for result in results:
        remarks.take(result.warnings, result.notes, _name(result))
    return {
        "title": title,
        "subtitle": f"{format.amount(first.model.parameters)} parameters, {format.amount(first.model.macs)} "
        "multiply-adds, "
        f"{first.model.embedding_size}-d embeddings",
        "created": first.created,
        "headline": headline,
        **remarks.to_json(),
        "models": [model_of(result, cosines) for result in results],
        "provenance": {
            "model": first.model.path,
            "teacher fingerprint": first.model.fingerprint,
            "preprocessing": str(first.model.preprocess),
            "calibration faces (manifest)": first.faces.manifest,
            "seed": str(first.seed),
            **first.machine,
        },
        **sections,
    }


def model_of(result: QuantizationRecord, cosines: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """A result as one of the report's models; `cosines` as `measure_agreement` gives them. Its engine comes first."""
    content = result.to_json()
    agreement = {
        engine: {**content["agreement"][engine], **({"cosines": cosines[engine]["cosines"]} if cosines else {})}
        for engine in sorted(result.agreement, key=lambda engine: engine != result.engine)
    }
    return {
        "name": _name(result),
        "bits": result.bits,
        "parameters": result.model.parameters,
        "macs": result.model.macs,
        "files": [{"name": name, "bytes": size} for name, size in result.bytes.items()],
        "float_bytes": result.float_bytes,
        "agreement": agreement,
        **{key: content[key] for key in ("layers", "tensors", "unquantized")},
        "data": content["faces"],
        **{key: content[key] for key in ("plan", "seconds", "evaluation") if key in content},
    }


def _name(result: QuantizationRecord) -> str:
    return f"{result.model.name} {result.bits}"


def _headline(result: QuantizationRecord) -> list[dict[str, str]]:
    agreement = result.engine_agreement
    return [
        {
            "label": "size",
            "value": format.size(result.bytes["model.bitface"]),
            "note": f"{result.compression:.1f}x smaller than the float32 weights",
        },
        {
            "label": "agreement with the teacher",
            "value": f"{agreement.mean:.4f}",
            "note": f"mean cosine of {agreement.count} held-out faces, in {title_of(result.engine)}'s integer kernels; "
            f"minimum {agreement.minimum:.4f}",
        },
        {
            "label": "left in floating point",
            "value": str(len(result.unquantized)),
            "note": "tensors, each listed below with the reason",
        },
    ]
