"""Every operator that is imported gives what ONNX Runtime gives, in every opset that has this form of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bitface.graph import from_onnx
from support import (
    window_cases,  # noqa: F401
    zoo_cases,  # noqa: F401
)
from support.onnx_models import IMAGE, Model, relative_difference, run_onnx
from support.operator_cases import CASES, Case


def newest_opset() -> int:
    """The newest that both the installed onnx and ONNX Runtime know."""
    errors = onnxruntime.capi.onnxruntime_pybind11_state
    for opset in range(onnx.defs.onnx_opset_version(), 21, -1):
        model = Model(opset)
        try:
            run_onnx(model.finish(model.add("Relu", "image")), np.zeros((1, *IMAGE), np.float32))
        except (errors.Fail, errors.InvalidArgument):
            continue
        return opset
    return 21


OPSETS = sorted({7, 9, 11, 13, 17, 21, newest_opset()})


PAIRS = [(case, opset) for case in CASES for opset in OPSETS if case.first <= opset <= case.last]
NEWEST = dict(PAIRS)


@pytest.mark.parametrize(("case", "opset"), PAIRS, ids=[f"{case.name}-{opset}" for case, opset in PAIRS])
def test_operator(case: Case, opset: int, save: Callable[[onnx.ModelProto], Path]) -> None:
    images = np.random.default_rng(1).normal(size=(3, *IMAGE)).astype(np.float32)
    # How a fixed batch is freed doesn't depend on the opset.
    for fixed in (None, 1, 3) if opset == NEWEST[case] else (None,):
        model = Model(opset, fixed)
        onnx_model = model.finish(case.build(model))
        graph, _ = from_onnx(save(onnx_model))
        with torch.no_grad():
            alone = torch.cat([graph(image[None]) for image in torch.from_numpy(images)])
            together = graph(torch.from_numpy(images))
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        for batch in (fixed,) if fixed else (1, 3):
            assert relative_difference(together[:batch], run_onnx(onnx_model, images[:batch])) <= 1e-4
