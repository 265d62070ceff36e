"""Results of bitface 0.1.0, which say neither their kind nor their schema: told apart by their keys."""

from typing import Any

# What each kind of result has and no other kind has all of.
KEYS: dict[str, set[str]] = {
    "quantization": {"model", "bits", "tensors", "unquantized", "float_bytes", "agreement"},
    "evaluation": {"accuracy", "tar", "counts", "fingerprint", "pairs"},
    "bench": {"machine", "versions", "rows"},
    "analysis": {"teacher", "student", "angles", "diagnosis"},
    "sensitivity": {"units", "correlations", "settings"},
    "search": {"front", "uniform", "budget", "best"},
    "pruning": {"pruning", "removed", "groups", "before", "after"},
    "distillation": {"architecture", "before", "after", "training"},
    "pretraining": {"backbone", "stages", "embedding_size"},
    "comparison": {"rows", "ranked_by", "frontier", "equal"},
    "suite": {"cells", "models", "fars"},
    "calibration": {"model", "engine", "thresholds", "teacher", "skipped"},
    "demo": {"faces", "results", "latency"},
}
# Keys that have other names since then; `kind` was the kind of the evaluated model's file.
_RENAMED = {"evaluation": {"kind": "model_kind"}}


def kind_of(content: Any) -> str | None:
    """The kind of a result, as its file says it or by its keys; None: it is no result."""
    if not isinstance(content, dict):
        return None
    if "schema" in content and isinstance(content.get("kind"), str):
        return str(content["kind"])
    return next((kind for kind, keys in KEYS.items() if keys <= set(content)), None)


def upgraded(content: Any, kind: str) -> Any:
    """The content of a file as today's version writes it; what isn't of version 0.1.0 as it is."""
    if not isinstance(content, dict) or "schema" in content:
        return content
    names = _RENAMED.get(kind, {})
    return {"kind": kind, "schema": 1, **{names.get(key, key): value for key, value in content.items()}}
