"""What to do about a file that isn't read: which switch of the exporter, which part to give instead, whom to tell."""

import re

_EXPORTERS = {
    "com.microsoft": "ONNX Runtime's optimizer has made it: give the file from before, or optimize it at level 'basic'",
    "ai.onnx.ml": "it belongs to a classifier behind the network: export the embedding alone",
    "org.pytorch.aten": "the exporter had no operator for it: export with torch.onnx.export(..., dynamo=True)",
    "aten": "the exporter had no operator for it: export with torch.onnx.export(..., dynamo=True)",
}
_KINDS = (
    (
        r"^(Loop|If|Scan)$|Sequence|^Optional",
        "it is control flow that an exporter kept: export by tracing with one fixed image size, or run the file "
        "through onnxsim",
    ),
    (
        r"^(NonMaxSuppression|RoiAlign|MaxRoiPool|TopK|NonZero|Unique|Compress)$",
        "it belongs to a detector or a selection behind the network: export the embedding alone",
    ),
    (
        r"^(GridSample|AffineGrid)$",
        "it moves the image inside the network: export the network without this part and give it aligned faces",
    ),
    (r"^String|Vectorizer|^Regex|^ImageDecoder", "it isn't of a network: export the network alone"),
)
_REASONS = (
    (
        r"from the image|computed indices|depends on the image",
        "export it for one image size, with dynamic axes for the batch alone, or run the file through onnxsim",
    ),
    (r"batch|every image", "export it so that the first dimension stays the batch and images don't meet"),
    (r"integer|quantize", "give the float network, from before it was quantized"),
    (r"text|sparse", "export the network alone, with dense tensors of numbers"),
)
_ELSE = "export the network without it, or run the file through onnxsim first"


def unknown_operator(name: str, kind: str, domain: str, opset: int) -> str:
    """The message about an operator that nobody reads: where it is, what it is, and what to do."""
    full = f"{domain}.{kind}" if domain else kind
    way = _EXPORTERS.get(domain) or _first(_KINDS, kind)
    way = way or "export the network with simpler operators"
    return (
        f"node '{name}' is a '{full}' of opset {opset}, an operator bitface doesn't know; {way}; else report it to "
        "bitface with this line and the exporter's name, or add it (docs/extend/operator.md)"
    )


def way_out(reason: str) -> str:
    """What to do about a form of an operator that isn't supported for this reason."""
    return _first(_REASONS, reason) or _ELSE


def _first(table: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((way for pattern, way in table if re.search(pattern, text)), None)
