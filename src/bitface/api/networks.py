"""Float networks: from a file, or from a module in memory."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

from torch import nn

from bitface.errors import BitfaceWarning, UsageError
from bitface.graph import Network, from_module
from bitface.preprocess import Size, parse
from bitface.runtime import Model, open_float
from bitface.runtime.quantized import QuantizedNetwork


def load_network(
    model: str | os.PathLike[str] | nn.Module | Network,
    preprocess: str | None = None,
    size: int | str | tuple[int, int] | None = None,
    name: str | None = None,
    output: str | None = None,
) -> Network:
    """A float face network: images `[N, 3, H, W]` (`[N, 1, H, W]` of grey) → embeddings `[N, D]`.

    Args:
        model: an ONNX file; weights (`.pt`, `.pth`, `.safetensors`) of a known backbone; a module in memory; or a
            network, for another preprocessing or name.
        preprocess: how pixels become the input, such as `rgb-127.5-128` (see `bf.Preprocess`). None: what the file
            says; otherwise the first faces that the network is given decide.
        size: of the image, where the network leaves it free: 160, or (height, width). A module's is 112 unless said.
        output: of an ONNX file that has several: the name of the embedding. None: the one that looks like it.
        name: what reports call it; None: the file's or the class's.

    Warns where a size is assumed, and where another program has quantized the file.

    Raises:
        BitfaceError: no face network, a damaged file, or a network that bitface has quantized.
    """
    image_size = None if size is None else Size.parse(size)
    if isinstance(model, QuantizedNetwork) or (isinstance(model, Network) and Model.of(model).integer):
        raise UsageError("a quantized network is quantized already; give the float network that it was made from")
    if isinstance(model, Network):
        network = model
    elif isinstance(model, nn.Module):
        network = from_module(model, None, name, image_size or Size(112, 112))
    else:
        network = open_float(Path(model), preprocess, image_size, output=output)
        for text in network.warnings:
            warnings.warn(text, BitfaceWarning, stacklevel=2)
        if network.free and image_size is None:
            warnings.warn(f"{model}: {network.free.note}", BitfaceWarning, stacklevel=2)
    if preprocess:
        network = network.with_preprocess(parse(preprocess, network.size))
    return replace(network, name=name) if name else network
