"""A report with every section, in figures of the size that real ones have."""

from typing import Any

import cv2
import numpy as np

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def layers(weight: int) -> list[dict[str, Any]]:
    """51 layers: a stem, depthwise and pointwise convolutions in pairs, and the embedding."""
    shapes = [("conv1", "conv 3x3", 3 * 9 * 32)]
    for index in range(49):
        inner, outer = WIDTHS[index // 4], WIDTHS[index // 4 + 1]
        depthwise = index % 2 == 0
        name, kind = (".dw", "depthwise 3x3") if depthwise else (".pw", "conv 1x1")
        shapes.append((f"block{index // 2 + 1}{name}", kind, inner * (9 if depthwise else outer)))
    shapes.append(("embedding", "linear", 1024 * 7 * 7 * 128))
    return [
        {
            "name": name,
            "kind": kind,
            "weight_bits": 8 if name in ("conv1", "embedding") else weight,
            "activation_bits": 8,
            "reason": {"conv1": "first layer", "embedding": "last layer"}.get(name, "plan"),
            "parameters": parameters,
            "bytes": parameters * (8 if name in ("conv1", "embedding") else weight) // 8,
        }
        for name, kind, parameters in shapes
    ]


def operating_point(far: float, tar: float | None) -> dict[str, Any]:
    """The JSON form of an `OperatingPoint` over 3,000 pairs of each kind."""
    keys = ("threshold", "tar", "interval", "reached", "accepted", "false_accepts")
    values: tuple[Any, ...] = (None,) * len(keys)
    if tar is not None:
        interval = {"low": tar - 0.0061, "high": min(1.0, tar + 0.0032), "method": "Wilson"}
        values = (0.31, tar, interval, far, round(3000 * tar), round(3000 * far))
    return {
        "far": far,
        "supported": tar is not None,
        **dict(zip(keys, values, strict=True)),
        "genuine": 3000,
        "impostor": 3000,
        "distinct": {"genuine": 3000, "impostor": 3000},
        "reason": None if tar is not None else f"needs at least {round(10 / far)} impostor pairs, has 3000",
    }


def verification(loss: float = 0.0) -> dict[str, Any]:
    mean = 0.9935 - loss
    tars = (0.9989, 0.9957 - loss, 0.9913 - 2 * loss, None, None, None)
    return {
        "accuracy": {
            "mean": mean,
            "std": 0.0031,
            "standard_error": 0.00098,
            "interval": {"low": mean - 0.0021, "high": mean + 0.0019, "method": "Wilson"},
            "accuracies": [mean] * 10,
            "thresholds": [0.31] * 10,
            "pairs": 6000,
            "errors": round(6000 * (1 - mean)),
        },
        "protocol": "list",
        "auc": 0.99871 - loss,
        "eer": 0.0068 + loss,
        "tar": [operating_point(10.0**-power, tar) for power, tar in enumerate(tars, 1)],
        "counts": {
            "images": 7701,
            "failed_images": 2,
            "identities": None,
            "genuine": 3000,
            "impostor": 3000,
            "failed_pairs": 3,
            "distinct": {"genuine": 3000, "impostor": 3000},
        },
        "warnings": [],
    }


def agreement(seed: int, distance: float) -> dict[str, Any]:
    cosines = 1 - np.random.default_rng(seed).gamma(4.0, distance / 4, 800)
    return {
        "count": 800,
        "mean": float(cosines.mean()),
        "p01": float(np.quantile(cosines, 0.01)),
        "minimum": float(cosines.min()),
        "cosines": [float(value) for value in cosines],
    }


def model(bits: int, distance: float) -> dict[str, Any]:
    name = f"w{bits}a8"
    plan = layers(bits)
    stored = sum(layer["bytes"] for layer in plan)
    return {
        "name": f"sface {name}",
        "bits": name,
        "files": [
            {"name": "model.bitface", "bytes": stored + 61_440},
            {"name": "model.openvino.onnx", "bytes": sum(layer["parameters"] for layer in plan) + 148_000},
            {"name": "model.onnxruntime.onnx", "bytes": sum(layer["parameters"] for layer in plan) + 171_204},
        ],
        "float_bytes": 4 * sum(layer["parameters"] for layer in plan),
        "agreement": {"openvino": agreement(1, distance), "onnxruntime": agreement(2, distance * 1.07)},
        "layers": plan,
        "tensors": [
            {
                "name": f"{layer['name']}.{role}",
                "role": role,
                "bits": layer["weight_bits"] if role == "weight" else 8,
                "detail": detail,
            }
            for layer in plan
            for role, detail in (
                ("weight", "symmetric, one scale for each output channel"),
                ("activation", "asymmetric, one scale"),
            )
        ],
        "unquantized": []
        if bits == 4
        else [{"name": "embedding.bias", "role": "bias", "reason": "added to the result, which is float32"}],
        "evaluation": [
            {"label": "float32 (openvino)", "result": verification()},
            {"label": f"{name} (openvino)", "result": verification(distance / 12)},
            {"label": f"{name} (onnxruntime)", "result": verification(distance / 11)},
        ],
        "data": {"kind": "synthetic faces (GAN)", "images": 5000, "seed": 7, "real_faces": False},
        "plan": {
            "bits": name,
            "first": "w8a8",
            "last": "w8a8",
            "layers": {"block3.*": "w8a8"},
            "weights": {"symmetric": True, "per_channel": True},
            "activations": "auto",
        },
        "seconds": {"synthetic_faces": 38.4, "calibration": 61.72, "bias_correction": 9.318, "export": 0.821},
    }


def latency() -> dict[str, Any]:
    figures = [
        ("float", "openvino", "f32", 8.412, None, None, None),
        ("float", "openvino", "bf16", 5.133, 1.64, "float f32", None),
        ("sface w8a8", "openvino", "int8", 2.218, 2.31, "float bf16", None),
        ("sface w4a8", "openvino", "int8", 2.224, 2.31, "float bf16", "4-bit weights run as int8"),
        ("float", "onnxruntime", "f32", 11.92, None, None, None),
        ("sface w8a8", "onnxruntime", "int8", 12.61, None, "float f32", "spread too large for a ratio"),
    ]
    rows = [
        {
            "model": name,
            "engine": engine,
            "precision": precision,
            "batch": batch,
            "threads": threads,
            "median_ms": median * scale,
            "iqr_ms": median * scale * 0.021,
            "per_second": 1000 * batch / (median * scale),
            "ratio": ratio,
            "baseline": baseline,
            "note": note,
        }
        for batch, threads, scale in ((1, 1, 1.0), (16, 2, 7.4))
        for name, engine, precision, median, ratio, baseline, note in figures
    ]
    return {"machine": "Intel Xeon Platinum 8488C, 2 of 96 cores, Linux 6.8, OpenVINO 2026.2", "rows": rows}


def sheet() -> bytes:
    """A PNG with patches of noise in place of faces."""
    patches = np.random.default_rng(3).integers(40, 220, (12, 20, 3), dtype=np.uint8)
    image = cv2.resize(patches, (560, 336), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".png", image)[1].tobytes()


def full() -> dict[str, Any]:
    return {
        "title": "sface at 8 and 4 bits",
        "subtitle": "face_recognition_sface_2021dec.onnx, quantized after training on 5,000 synthetic faces",
        "created": "2026-03-14T09:26:53+00:00",
        "headline": [
            {"label": "Size on disk", "value": "8.62 MB", "note": "42.7 MB as float32: 5.0 times smaller"},
            {"label": "Agreement", "value": "0.9795", "note": "mean cosine, 800 images"},
            {"label": "Speed", "value": "2.31×", "note": "as fast as float bf16, OpenVINO, one thread"},
            {"label": "Verification", "value": "99.17 %", "note": "float32: 99.35 %, same 6,000 pairs"},
        ],
        "warnings": ["The images come without a manifest: whether the benchmark shares some is unknown."],
        "notes": ["Weights below 8 bits make the file smaller, not the inference faster: they run as int8."],
        "models": [model(8, 0.003), model(4, 0.021)],
        "latency": latency(),
        "faces": {"caption": "120 of the 5,000 synthetic faces", "png": sheet()},
        "provenance": {
            "bitface": "0.1.0",
            "command": "bitface quantize sface.onnx --images synthetic:5000 --bits w4a8 --out out",
            "teacher_sha256": "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            "seed": "7",
            "torch": "2.13.0+cpu",
            "openvino": "2026.2.1",
            "onnxruntime": "1.24.4",
            "python": "3.12.11",
        },
    }
