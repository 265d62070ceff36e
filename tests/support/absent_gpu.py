"""A step of a quantized student on a GPU that isn't there: tensors have sizes and places, but no numbers.

What would mix its tensors with the CPU's is refused as on a real one.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils import backend_registration

sys.path[:0] = [str(Path(__file__).parents[1])]

from bitface import backbones  # noqa: E402
from bitface.losses import build_sum  # noqa: E402
from bitface.quant import (  # noqa: E402
    BitPlan,
    Calibration,
    learn,
)
from bitface.quant.fused import fused  # noqa: E402
from bitface.quant.post_training import calibrated  # noqa: E402
from bitface.training import Training  # noqa: E402
from bitface.training.optimizer import clip, optimizer_of  # noqa: E402
from bitface.training.whole_batch import WholeBatch  # noqa: E402
from support import quantized  # noqa: E402

GPU = "gpu:0"


class Backend(backend_registration._DummyBackendModule):
    """What torch asks a device about mixed precision."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def moved(module: nn.Module) -> nn.Module:
    """A module whose tensors are on the GPU."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None:
                    there = torch.empty(value.shape, dtype=value.dtype, device=GPU)
                    tensors[name] = nn.Parameter(there) if tensors is part._parameters else there  # type: ignore
    return module


def main() -> None:
    backend_registration._setup_privateuseone_for_python_backend("gpu", Backend())
    model = quantized.settle(backbones.create("mobilefacenet:0.25", 16, input_size=(32, 32)), 32)
    network = quantized.network(model, 32)
    student = calibrated(network, quantized.faces(4, 32), BitPlan.parse("w4a4"), Calibration("minmax"))
    learn.make_learnable(student, "lsq", "lsq")
    with FakeTensorMode():
        rows, labels = torch.empty(6, 16, device=GPU), torch.zeros(6, dtype=torch.int64, device=GPU)
        for name in ("feature", "relational", "softmax", "arcface"):
            loss = moved(build_sum({name: 1.0}, 16, 10))
            embeddings = torch.empty(6, 16, device=GPU, requires_grad=True)
            loss(embeddings, rows, labels).backward()
            assert embeddings.grad is not None
            print(name)
        graph, loss = moved(student.graph), build_sum({"feature": 1.0}, 16)
        batch = WholeBatch(moved(fused(graph)), loss, half=False)  # type: ignore[arg-type]
        training = Training(precision="f32")
        optimizer = optimizer_of(graph, loss, training)
        value = batch.forward(torch.empty(6, 3, 32, 32, device=GPU), rows, labels, 6, 0)
        batch.backward()
        clip(list(graph.parameters()), set(), 5.0)
        optimizer.step()
        assert value.device.type == "gpu"
        print("step")


if __name__ == "__main__":
    main()
