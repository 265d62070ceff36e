"""Where a report's figures come from: models, hashes, seeds, versions, machines."""

from collections.abc import Iterator, Sequence
from typing import Any

from bitface.report.derivation import way
from bitface.report.grouping import Subject
from bitface.results.documents import (
    ANALYSIS,
    BENCH,
    COMPARISON,
    DISTILLATION,
    EVALUATION,
    PRUNING,
    QUANTIZATION,
    SEARCH,
    SENSITIVITY,
    SUITE,
    Document,
)

Facts = dict[str, Any]

# Which key of a result holds its float network.
_SIDES = dict.fromkeys((QUANTIZATION, PRUNING, DISTILLATION, SENSITIVITY, SEARCH), "model") | {ANALYSIS: "teacher"}


def teachers(documents: Sequence[Document]) -> list[str]:
    """A warning where the results speak of different float networks; one that was made of another counts as that."""
    known: dict[str, str] = {}
    made: dict[str, dict[str, Any]] = {}
    for one in documents:
        if one.kind in (PRUNING, DISTILLATION) and isinstance(one.content["model"], dict):
            made[str(one.content["fingerprint"])] = one.content["model"]
    for one in documents:
        network = one.content[side] if (side := _SIDES.get(one.kind)) else None
        if isinstance(network, dict) and network.get("fingerprint"):
            network = _origin(network, made)
            known.setdefault(str(network["fingerprint"]), str(network.get("name") or network.get("path")))
    if len(known) < 2:
        return []
    named = ", ".join(f"{name} ({fingerprint[:8]})" for fingerprint, name in known.items())
    return [f"these results are of different teachers: {named}; what each lost isn't one scale"]


def _origin(network: dict[str, Any], made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The network that the first of these steps began with."""
    passed = set()
    while (fingerprint := str(network.get("fingerprint"))) in made and fingerprint not in passed:
        passed.add(fingerprint)
        network = made[fingerprint]
    return network


def facts(models: Sequence[Subject], documents: Sequence[Document]) -> Facts:
    """Every fact once where all agree on it, else with the name of what it is true of in front."""
    rows = [*_of_models(models), *_of_documents(documents)]
    keys = dict.fromkeys(key for _, row in rows for key in row)
    found: Facts = {}
    for key in keys:
        said = [(name, row[key]) for name, row in rows if row.get(key) not in (None, "")]
        if len({str(value) for _, value in said}) == 1 and (len(said) > 1 or len(rows) == 1):
            found[key] = said[0][1]
        else:
            found |= {f"{name}: {key}": value for name, value in said}
    return found


def _of_models(models: Sequence[Subject]) -> Iterator[tuple[str, Facts]]:
    for one in models:
        file, faces = ("artifact", "calibration") if one.of(QUANTIZATION) else (one.path.name, "training")
        row: Facts = {"fingerprint": one.fingerprint, f"{file} SHA-256": one.sha256}
        if one.result:
            content = one.result.content
            row |= {
                "teacher": content["model"].get("path"),
                "teacher fingerprint": content["model"]["fingerprint"],
                "preprocessing": content["model"].get("preprocess") or content.get("preprocess"),
                f"{faces} faces (manifest)": (content.get("faces") or {}).get("manifest"),
                "method": content.get("method") or way(one),
                "seed": content.get("seed"),
            }
        for document in one.evaluations:
            row |= {f"evaluated in {document.path.name} on": document.content["pairs"]}
        yield one.name, row


def _of_documents(documents: Sequence[Document]) -> Iterator[tuple[str, Facts]]:
    """Versions and machine of each result, and when it was made."""
    for one in documents:
        machine = one.content.get("versions" if one.kind == BENCH else "machine")
        known = machine if isinstance(machine, dict) else {}
        made = {} if one.kind == EVALUATION else {"made": one.content.get("created")}
        folder = one.path.resolve().parent.name
        about = _about(one)
        yield f"{folder}/{one.path.name}", {**made, **about, "bitface": one.content.get("bitface"), **known}


def _about(one: Document) -> Facts:
    """What a result of many models was made from."""
    content = one.content
    if one.kind == COMPARISON:
        return {"model": content["model"], "pairs": content["pairs"]}
    if one.kind == SUITE:
        protocols = dict.fromkeys(cell["protocol"] for cell in content["cells"])
        return {"models": content["models"], "protocols": list(protocols), "baseline": content["baseline"]}
    return {}
