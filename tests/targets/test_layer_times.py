from dataclasses import replace

import numpy as np
import pytest
import torch

from bitface import backbones
from bitface.errors import BitfaceError
from bitface.graph import from_module, ops, passes
from bitface.quant import BitPlan, quantize
from bitface.targets.openvino import layer_times


@pytest.mark.parametrize("integer", [False, True])
def test_nearly_every_layer_has_a_time_of_its_own(integer: bool) -> None:
    torch.manual_seed(0)
    network = from_module(backbones.create("mobilefacenet:0.5").eval(), "rgb-127.5-128")
    faces = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    folded = replace(network, graph=passes.fold(network.graph))
    student = quantize(network, faces, BitPlan())[0] if integer else folded
    names = [
        name for name, module in folded.graph.named_modules() if isinstance(module, ops.LAYERS)
    ]  # fmt: skip
    times, rest = layer_times(student, names)
    assert list(times) == names
    assert sum(value > 0 for value in times.values()) > 0.9 * len(names)
    assert rest >= 0


def test_unknown_layers() -> None:
    network = from_module(backbones.create("mobilefacenet:0.25").eval())
    with pytest.raises(BitfaceError, match="no layer"):
        layer_times(network, ["nobody"])
