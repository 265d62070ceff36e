"""What `prune` and `distill` made of a network, and from what a model was made step by step, as the report's input."""

from collections.abc import Sequence
from typing import Any

from bitface.report import format
from bitface.report.grouping import ReportedModel
from bitface.results.float_students import ChannelGroup, DistillationRecord, NetworkSize, PruningRecord
from bitface.results.quantization import QuantizationRecord, QuantizedSource
from bitface.targets.registry import FASTEST

FloatStudent = PruningRecord | DistillationRecord
Table = dict[str, Any]

_SIZES = {
    "parameters": ("Parameters", format.amount),
    "macs": ("Multiply-adds", format.amount),
    "bytes": ("The file", format.size),
}


def float_model(result: FloatStudent) -> dict[str, Any]:
    """The result of `prune` or `distill` as one of the report's models, see `report.render`."""
    cosine = result.agreement.cosine
    channels = _channels(result.groups) if isinstance(result, PruningRecord) and result.groups else []
    return {
        "files": [{"name": "model.onnx", "bytes": result.after.bytes}],
        "float_bytes": 4 * result.before.parameters,
        "parameters": result.after.parameters,
        "macs": result.after.macs,
        "agreement": {FASTEST: cosine.to_json()} if cosine else {},
        "tables": [_sizes(result), _training(result), *channels],
        "data": result.faces.to_json(),
        "seconds": result.seconds,
    }


def _sizes(result: FloatStudent) -> Table:
    rows = []
    for key, (word, written) in _SIZES.items():
        before, after = getattr(result.before, key), getattr(result.after, key)
        rows.append([word, written(before), written(after), _share(after, before)])
    if isinstance(result, PruningRecord):
        rows.append(["Channels", "", "", format.percent(1 - result.removed.channels, 1)])
    return {
        "title": "Beside the network it was made from",
        "columns": ["", "That one", "This one", "Share"],
        "rows": rows,
    }


def _share(part: int | None, whole: int | None) -> str:
    return format.DASH if not whole or part is None else format.percent(part / whole, 1)


def _training(result: FloatStudent) -> Table:
    """How it was cut or built, how long it learned and by which losses, and how alike it became."""
    training, settings = result.training, result.training.settings
    rows: list[list[Any]] = [["Student", result.architecture]] if isinstance(result, DistillationRecord) else []
    rows += [["Pruning", result.pruning.to_json()]] if isinstance(result, PruningRecord) else []
    rows += [
        ["Loss", settings.loss],
        ["Length", f"{settings.epochs:g} epochs at most, {training.steps:,} steps taken"],
        ["Images seen", format.count(training.images)],
        [
            "Likeness",
            f"{format.unit(result.agreement.likeness)} (correlation of both networks' cosines of held-out pairs)",
        ],
    ]
    if result.agreement.cosine is None:
        rows.append(["Agreement", "none: its embeddings have another length than its teacher's"])
    title = "Pruned, and recovered" if isinstance(result, PruningRecord) else "Distilled"
    return {"title": title, "columns": ["", "How"], "rows": [[key, format.plain(value)] for key, value in rows]}


def _channels(groups: Sequence[ChannelGroup]) -> list[Table]:
    rows = [
        [group.name, str(len(group.layers)), format.count(group.before), format.count(group.after)] for group in groups
    ]
    caption = "Channels that go together, by the layer that writes them first."
    columns = ["Layer", "Layers that share them", "Before", "After"]
    return [{"title": "Channels", "caption": caption, "columns": columns, "rows": rows}]


def steps(chain: Sequence[ReportedModel]) -> Table:
    """A table of what a model was made from, one out of the other; its last row is the model itself."""
    rows = []
    for model in chain:
        result = model.result
        if isinstance(result, QuantizationRecord):
            rows.append([model.name, *_counts(result.model), format.unit(result.engine_agreement.mean)])
        elif result is not None:
            if not rows:
                rows.append([result.model.name, *_counts(result.before), ""])
            cosine = result.agreement.cosine
            rows.append([model.name, *_counts(result.after), format.unit(cosine.mean if cosine else None)])
    return {
        "title": "Step by step",
        "caption": "What it was made from. Agreement: mean cosine of held-out faces to the network one row above.",
        "columns": ["Network", "Parameters", "Multiply-adds", "Agreement"],
        "rows": rows,
    }


def _counts(size: NetworkSize | QuantizedSource) -> list[str]:
    return [format.amount(size.parameters), format.amount(size.macs)]


def way(result: FloatStudent) -> str:
    """How a float student was made, in words for the provenance."""
    losses = ", ".join(result.training.settings.loss)
    effort = f"{result.training.steps:,} steps on {result.faces.learning:,} faces ({losses})"
    if isinstance(result, PruningRecord):
        pruning = result.pruning
        return f"pruned (ratio {pruning.ratio:g}, {pruning.importance}, {pruning.scope}), recovered in {effort}"
    return f"distilled into {result.architecture} in {effort}"
