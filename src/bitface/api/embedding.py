"""Embedders: of a file, of a network in memory, or of a quantized one."""

import os
from typing import TYPE_CHECKING, Union

from bitface.runtime.embedder import Embedder
from bitface.runtime.embedder import load as loaded
from bitface.runtime.model import Model

if TYPE_CHECKING:
    from torch import nn

    from bitface.graph import Network
    from bitface.runtime.quantized import QuantizedNetwork


def load(
    model: Union[str, os.PathLike[str], "nn.Module", "Network", Model, "QuantizedNetwork"],
    engine: str | None = None,
    threads: int | None = None,
    preprocess: str | None = None,
    streams: int | None = None,
    size: int | str | tuple[int, int] | None = None,
    output: str | None = None,
) -> Embedder:
    """A model, ready to embed, in any number of threads: `bf.load("model.bitface").embed(["a.jpg"])`.

    Args:
        model: an artifact, an exported ONNX file or a float network, by its path or in memory.
        engine: a target that runs here, such as `openvino`; None: the fastest that is exact on this CPU. An exported
            file decides itself.
        threads, streams: see `Embedder`.
        preprocess, size: of float networks that don't say them; 160, or (height, width).
        output: of an ONNX file that has several: the name of the embedding.

    Warns where a size is assumed, and where the engine isn't exact on this CPU.

    Raises:
        BitfaceError, UsageError: no model, a damaged one, one without a known preprocessing, or an unknown engine.
    """
    if isinstance(model, str | os.PathLike | Model):
        return loaded(model, engine, threads, preprocess, streams, size, output)
    from torch import nn  # who has a network in memory has imported it

    from bitface.api.networks import load_network
    from bitface.runtime.quantized import QuantizedNetwork

    if isinstance(model, nn.Module):
        model = load_network(model, preprocess, size)
    source = model.model if isinstance(model, QuantizedNetwork) else model
    return loaded(source, engine, threads, preprocess, streams, size, output)
