"""An analysis with every part, of the shape that `jobs.analyse` gives."""

from typing import Any


def distribution(*counts: int, low: float = 0.0, width: float = 2.0) -> dict[str, Any]:
    return {
        "count": sum(counts), "mean": 12.5, "p05": 3.0, "median": 12.0, "p95": 31.0, "low": low, "width": width,
        "counts": list(counts),
    }  # fmt: skip


def analysis() -> dict[str, Any]:
    start = {"name": "stem_a8", "kind": "quantizer", "bits": 8, "snr": 3.2, "before": 41.0, "cosine": 0.7, "rise": 9.1}
    points = [
        {"name": "image", "kind": "image", "bits": None, "snr": 120.0, "before": 120.0, "cosine": 1.0, "rise": 0.0},
        start,
        {"name": "fc", "kind": "IntegerLinear", "bits": 4, "snr": 2.5, "before": 3.0, "cosine": 0.6, "rise": 0.4},
    ]
    quantizer = {
        "name": "stem_a8", "tensor": "stem", "bits": 8, "low": -1.0, "high": 1.0, "seen_low": -9.0, "seen_high": 7.0,
        "below": 0.1, "above": 0.05, "clipped": 0.15, "levels": 256, "unused": 3, "noise": 0.4, "clip_noise": 0.39,
        "start": -9.0, "width": 1.0, "counts": [1, 0, 5, 900, 40000, 800, 3],
    }  # fmt: skip
    side = {
        "path": "net.onnx", "name": "net", "kind": "float", "preprocess": "rgb-raw", "embedding_size": 32,
        "fingerprint": "f00d", "bits": None, "method": None,
    }  # fmt: skip
    means = {"face": 31.4, "class": 21.2, "individual": 10.1, "individual vector": 24.3}
    groups = {name: distribution(1, 7, 4) for name in means}
    return {
        "bitface": "0.1.0",
        "created": "2026-03-14T09:26:00+00:00",
        "title": "model.bitface beside net.onnx",
        "teacher": side,
        "student": {**side, "path": "model.bitface", "kind": "artifact", "bits": "w4a8", "method": "ptq"},
        "class_word": "class",
        "diagnosis": {"sentences": ["The damage starts at stem_a8."], "command": "bitface quantize net.onnx"},
        "faces": {"used": 6, "classes": 2, "alone": 0, "images": 6, "labels": "folder"},
        "errors": {"as embedded": means, "rotation taken out": {**means, "face": 20.0}},
        "angles": {
            "errors": groups,
            "errors without rotation": groups,
            "inter-class": {"teacher": distribution(3, 9, low=80), "student": distribution(4, 8, low=80)},
            "within-class": {"teacher": distribution(3, 9), "student": distribution(4, 8)},
        },
        "classes": [
            {"name": "Ada", "faces": 3, "error": 20.0, "individual": 30.5, "teacher": 25.0, "student": 44.0},
        ],
        "layers": {"points": points, "ranges": [quantizer], "start": start, "faces": 6},
        "map": {
            "rows": 3, "teacher": [[0, 0], [1, 2], [5, 5]], "student": [[0, 1], [1, 2], [4, 5]], "group": [0, 0, 1],
            "title": ["Ada", "Ada", "Bob"],
        },
        "neighbourhoods": {"k": 2, "kept": 0.75, "lowest": 0.5, "trustworthiness": 0.9312, "faces": 6},
        "flips": {
            "pairs": "all pairs",
            "points": [
                {
                    "far": 1e-4, "teacher": 0.31, "student": 0.42, "rejected": 12, "accepted": 3, "gained": 5,
                    "genuine": 900, "impostor": 120000, "own": True,
                }
            ],
            "worst": [
                {
                    "left": "Ada/1.png", "right": "Ada/2.png", "same": True, "teacher": 0.52, "student": 0.11,
                    "damage": 0.52,
                }
            ],
        },
        "conditions": [{"name": "sharpness", "flipped": 101.0, "all": 203.0, "p": 0.0021, "faces": 24}],
        "notes": ["45 faces are few"],
        "warnings": ["made from another network"],
        "machine": {"cpu": "Xeon"},
        "seconds": {"models": 1.0},
    }  # fmt: skip
