"""Technical documentation by Annex IV of the EU AI Act (Regulation (EU) 2024/1689): what a report can fill in.

Biometric identification and verification of people may be a high-risk use (Annex III, point 1), whose provider has to
document it. The points stand here in the Annex's order and in short words; what no measurement can say is marked as the
provider's, so that nothing looks filled that isn't.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitface.report import format
from bitface.runtime.machine import NOT_INSTALLED
from bitface.targets.registry import every

YOURS = "yours to say"
ATTACKS = (
    "presentation attacks (ISO/IEC 30107-3): not tested; neither a photograph held up nor a mask is recognised as one"
)
"""What no test here says anything about, on every card and report of a model."""

Report = Mapping[str, Any]


def points(report: Report) -> list[list[str]]:
    """Rows of point, what it asks for, and what the report says of it."""
    return [[point, question, answer(report) or YOURS] for point, question, answer in _POINTS]


def _nothing(_: Report) -> str:
    return ""


def _said(text: str) -> Callable[[Report], str]:
    return lambda _: text


def _models(report: Report) -> Sequence[Mapping[str, Any]]:
    models: Sequence[Mapping[str, Any]] = report.get("models") or ()
    return models


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _versions(report: Report) -> str:
    facts = {str(key): value for key, value in (report.get("provenance") or {}).items()}
    kinds = ("fingerprint", "SHA-256", "bitface")
    return _listed([f"{key}: {value}" for key, value in facts.items() if key.endswith(kinds)])


def _software(report: Report) -> str:
    facts = report.get("provenance") or {}
    names = {"system", "python", "torch", "onnx", "numpy"} | {target.package for target in every().values()}
    return _listed([f"{key} {value}" for key, value in facts.items() if key in names and value != NOT_INSTALLED])


def _hardware(report: Report) -> str:
    facts = report.get("provenance") or {}
    latency = (report.get("latency") or {}).get("machine")
    return _listed([f"tested on {latency or facts.get('cpu')}" if latency or facts.get("cpu") else ""])


def _architecture(report: Report) -> str:
    texts = []
    for model in _models(report):
        parts = [str(model["bits"])] if model.get("bits") else []
        parts += [
            f"{model[key]:,} {word}"
            for key, word in (("parameters", "parameters"), ("macs", "multiply-adds"))
            if model.get(key)
        ]
        parts += [
            f"{name} {format.size(one['bytes'])}" for one in model.get("files") or () if (name := one.get("name"))
        ][:1]
        texts.append(f"{model['name']}: {', '.join(parts)}" if parts else "")
    return _listed(texts)


def _method(report: Report) -> str:
    facts = report.get("provenance") or {}
    keys = ("method", "teacher", "teacher fingerprint", "seed")
    return _listed([f"{key}: {value}" for key, value in facts.items() if str(key).endswith(keys)])


def _data(report: Report) -> str:
    facts = report.get("provenance") or {}
    made = [f"{key}: {value}" for key, value in facts.items() if str(key).endswith("(manifest)")]
    return _listed([*made, *(["of the network it was made from: " + YOURS] if made else [])])


def _tests(report: Report) -> str:
    facts = report.get("provenance") or {}
    tested = [f"{key}: {value}" for key, value in facts.items() if str(key).endswith(" on")]
    return _listed(
        [*tested, "figures with intervals, and the errors behind each, in the sections above"] if tested else []
    )


def _groups(report: Report) -> str:
    titles = {str(one.get("title")) for model in _models(report) for one in model.get("tables") or ()}
    if "Groups of people" in titles:
        return "the tables Groups of people and Differences between groups, above"
    return "not measured (bitface evaluate --groups)"


def _limits(report: Report) -> str:
    remarks = [str(one) for one in report.get("warnings") or ()]
    return _listed([ATTACKS, f"{len(remarks)} warnings, above" if remarks else ""])


_POINTS: tuple[tuple[str, str, Callable[[Report], str]], ...] = (
    (
        "1 (a)",
        "intended purpose, provider, version",
        lambda report: _listed([_versions(report), f"purpose and provider: {YOURS}"]),
    ),
    ("1 (b)", "other hardware and software it works with", _nothing),
    ("1 (c)", "versions of software", _software),
    ("1 (d)", "forms in which it is placed on the market", _nothing),
    ("1 (e)", "hardware it is meant to run on", _hardware),
    ("1 (f)–(h)", "product, user interface, instructions for use", _nothing),
    ("2 (a)", "how it was developed, from which pre-trained systems", _method),
    ("2 (b)", "design choices and what it optimises for", _nothing),
    ("2 (c)", "architecture and computing", _architecture),
    ("2 (d)", "data: provenance, scope, selection, labels", _data),
    ("2 (e)", "human oversight (Article 14)", _nothing),
    ("2 (f)", "changes determined in advance", _nothing),
    ("2 (g)", "validation and testing: data, metrics, logs", _tests),
    ("2 (g)", "potentially discriminatory impacts", _groups),
    (
        "2 (h)",
        "cybersecurity",
        _said(f"files are checked before use, galleries can be encrypted; of the system: {YOURS}"),
    ),
    (
        "3",
        "capabilities and limits, foreseeable misuse, oversight",
        lambda report: _listed([_limits(report), f"misuse and oversight: {YOURS}"]),
    ),
    (
        "4",
        "why these metrics",
        _said("FAR and TAR as users meet them, FMR and FNMR by ISO/IEC 19795-1; for this use: " + YOURS),
    ),
    ("5", "risk management (Article 9)", _nothing),
    ("6", "changes through its lifecycle", _nothing),
    ("7", "harmonised standards applied", _nothing),
    ("8", "EU declaration of conformity", _nothing),
    ("9", "monitoring after placing on the market (Article 72)", _nothing),
)
