import numpy as np
import pytest
import torch

from bitface import backbones
from bitface.errors import BitfaceError
from bitface.graph import from_module, ops, passes, to_onnx
from bitface.quant import BitPlan, quantize
from bitface.runtime.profile import layer_times


@pytest.mark.parametrize("integer", [False, True])
def test_nearly_every_layer_has_a_time_of_its_own(integer: bool) -> None:
    torch.manual_seed(0)
    network = from_module(backbones.create("mobilefacenet:0.5").eval(), "rgb-127.5-128")
    faces = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    graph = quantize(network, faces, BitPlan())[0].graph if integer else passes.fold(network.graph)
    names = [
        name for name, module in passes.fold(network.graph).named_modules() if isinstance(module, ops.LAYERS)
    ]  # fmt: skip
    times, rest = layer_times(to_onnx(graph, "openvino").SerializeToString(), names)
    assert list(times) == names
    assert sum(value > 0 for value in times.values()) > 0.9 * len(names)
    assert rest >= 0


def test_unknown_layers() -> None:
    network = from_module(backbones.create("mobilefacenet:0.25").eval())
    with pytest.raises(BitfaceError, match="no layer"):
        layer_times(to_onnx(network.graph).SerializeToString(), ["nobody"])
