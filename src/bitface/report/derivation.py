"""What `prune` and `distill` made of a network, and from what a model was made step by step, as the report's input."""

from collections.abc import Sequence
from typing import Any

from bitface.report import format
from bitface.report.grouping import Subject
from bitface.results.documents import PRUNING, QUANTIZATION
from bitface.results.quantization import agreed
from bitface.targets.registry import FASTEST

Section = dict[str, Any]

_COUNTS = {"parameters": "Parameters", "macs": "Multiply-adds", "bytes": "Bytes of the file"}


def learned(content: Section) -> Section:
    """The result of `prune` or `distill` as one of the report's models, see `report.render`."""
    cosine = content["agreement"]["cosine"]
    return {
        "files": [{"name": "model.onnx", "bytes": content["after"]["bytes"]}],
        "float_bytes": 4 * content["before"]["parameters"],
        "parameters": content["after"]["parameters"],
        "macs": content["after"]["macs"],
        "agreement": {FASTEST: cosine} if cosine else {},
        "tables": [_sizes(content), _school(content), *_channels(content.get("groups") or ())],
        "data": content["faces"],
        "seconds": content["seconds"],
    }


def _sizes(content: Section) -> Section:
    before, after = content["before"], content["after"]
    rows = [
        [word, format.count(before[key]), format.count(after[key]), _share(after[key], before[key])]
        for key, word in _COUNTS.items()
    ]
    if "removed" in content:
        rows.append(["Channels", "", "", format.percent(1 - content["removed"]["channels"], 1)])
    return {
        "title": "Beside the network it was made from",
        "columns": ["", "That one", "This one", "Share"],
        "rows": rows,
    }


def _share(part: Any, whole: Any) -> str:
    return format.DASH if not whole or format.missing(part) else format.percent(part / whole, 1)


def _school(content: Section) -> Section:
    """How it was cut or built, how long it learned and by which losses, and how alike it became."""
    training, found = content["training"], content["agreement"]
    settings = training["settings"]
    rows = [["Pruning", content["pruning"]]] if "pruning" in content else [["Student", content["architecture"]]]
    rows += [
        ["Loss", settings["loss"]],
        ["Length", f"{settings['epochs']:g} epochs at most, {training['steps']:,} steps taken"],
        ["Images seen", format.count(training["images"])],
        [
            "Likeness",
            f"{format.unit(found['likeness'])} (correlation of both networks' cosines of held-out pairs)",
        ],
    ]
    if found["cosine"] is None:
        rows.append(["Agreement", "none: its embeddings have another length than its teacher's"])
    title = "Pruned, and recovered" if "pruning" in content else "Distilled"
    return {"title": title, "columns": ["", "How"], "rows": [[key, format.plain(value)] for key, value in rows]}


def _channels(groups: Sequence[Section]) -> list[Section]:
    if not groups:
        return []
    rows = [
        [group["name"], str(len(group["layers"])), format.count(group["before"]), format.count(group["after"])]
        for group in groups
    ]
    caption = "Channels that go together, by the layer that writes them first."
    columns = ["Layer", "Layers that share them", "Before", "After"]
    return [{"title": "Channels", "caption": caption, "columns": columns, "rows": rows}]


def steps(chain: Sequence[Subject]) -> Section:
    """A table of what a model was made from, one out of the other; its last row is the model itself."""
    first = _content(chain[0])
    rows = [[str(first["model"]["name"]), *_counted(first["before"]), ""]]
    for one in chain:
        content = _content(one)
        if one.of(QUANTIZATION):
            counted, (_, figures) = _counted(content["model"]), agreed(content)
        else:
            counted, figures = _counted(content["after"]), content["agreement"]["cosine"] or {}
        rows.append([one.name, *counted, format.unit(figures.get("mean"))])
    return {
        "title": "Step by step",
        "caption": "What it was made from. Agreement: mean cosine of held-out faces to the network one row above.",
        "columns": ["Network", "Parameters", "Multiply-adds", "Agreement"],
        "rows": rows,
    }


def _content(one: Subject) -> Section:
    assert one.result is not None
    return one.result.content


def _counted(counts: Section) -> list[str]:
    return [format.count(counts.get(key)) for key in ("parameters", "macs")]


def way(one: Subject) -> str | None:
    """How a model was made, in words for the provenance; None for one that wasn't pruned or distilled."""
    content = one.result.content if one.result and not one.of(QUANTIZATION) else None
    if content is None:
        return None
    losses = ", ".join(content["training"]["settings"]["loss"])
    done = f"{content['training']['steps']:,} steps on {content['faces']['learning']:,} faces ({losses})"
    if one.of(PRUNING):
        pruning = content["pruning"]
        return f"pruned (ratio {pruning['ratio']:g}, {pruning['importance']}, {pruning['scope']}), recovered in {done}"
    return f"distilled into {content['architecture']} in {done}"
