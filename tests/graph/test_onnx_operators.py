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
from support.onnx_models import IMAGE, Model, refused, relative_difference, run_onnx
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


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("kind", ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceSum", "ReduceMax", "ReduceMean"])
def test_reductions_along_no_axis(kind: str, keepdims: int, save: Callable[[onnx.ModelProto], Path]) -> None:
    images = np.random.default_rng(1).normal(size=(3, *IMAGE)).astype(np.float32)
    model = Model(18)
    file = model.finish(model.add(kind, "image", keepdims=keepdims, noop_with_empty_axes=1))
    graph, _ = from_onnx(save(file))
    assert relative_difference(graph(torch.from_numpy(images)), run_onnx(file, images)) <= 1e-5


def _map(m: Model) -> str:
    return m.add("Relu", m.add("Conv", "image", m.floats(5, 3, 3, 3)))


def _squeezed(m: Model) -> str:
    """`[5, 6, 4]`, without the batch"""
    return m.add("Squeeze", _map(m))


def _vector(m: Model) -> str:
    """`[5]`"""
    return m.add("Squeeze", m.add("GlobalAveragePool", _map(m)))


def _unit(m: Model, x: str) -> str:
    """As torch writes `normalize`."""
    norm = m.add("Clip", m.add("ReduceL2", x, axes=[0], keepdims=1), m.constant(1e-12, np.float32))
    return m.add("Div", x, m.add("Expand", norm, m.add("Shape", x)))


SQUEEZED: dict[str, Callable[[Model], str]] = {
    "alone": _vector,
    "a map": _squeezed,
    "means of the map": lambda m: m.add("ReduceMean", _squeezed(m), axes=[1, 2], keepdims=0),
    "the largest of the channels": lambda m: m.add("ReduceMax", _squeezed(m), axes=[0], keepdims=0),
    "norms": lambda m: m.add("ReduceL2", _squeezed(m), axes=[-1], keepdims=1),
    "numbers of channels": lambda m: m.add("Mul", _squeezed(m), m.floats(5, 1, 1)),
    "a channel": lambda m: m.add("Gather", _squeezed(m), m.constant(1, np.int64), axis=0),
    "back by an Unsqueeze": lambda m: m.add("GlobalMaxPool", m.add("Unsqueeze", _squeezed(m), m.ints(0))),
    "back by a Reshape": lambda m: m.add("Reshape", _squeezed(m), m.ints(1, -1)),
    "flattened": lambda m: m.add("Reshape", _squeezed(m), m.ints(-1)),
    "rows": lambda m: m.add(
        "MatMul", m.add("Transpose", m.add("Reshape", _squeezed(m), m.ints(5, -1)), perm=[1, 0]), m.floats(5, 2)
    ),
    "a linear layer": lambda m: m.add("Add", m.add("MatMul", _vector(m), m.floats(5, 4)), m.floats(4)),
    "a normalisation": lambda m: m.add("LpNormalization", _vector(m)),
    "a normalisation in parts": lambda m: _unit(m, _vector(m)),
    "by its axes": lambda m: m.add(
        "MatMul", m.add("Squeeze", m.add("GlobalAveragePool", _map(m)), m.ints(0, 2, 3)), m.floats(5, 4)
    ),
    "of a batch elsewhere": lambda m: m.add(
        "ReduceSum", m.add("Squeeze", m.add("Transpose", _map(m), perm=[1, 0, 2, 3])), m.ints(0), keepdims=0
    ),
}


@pytest.mark.parametrize("build", SQUEEZED.values(), ids=SQUEEZED)
def test_a_batch_of_one_that_is_squeezed_away(
    build: Callable[[Model], str], save: Callable[[onnx.ModelProto], Path]
) -> None:
    """Axes behind it count from the next one, in the file; in the graph the batch stays, and is free."""
    model = Model(13, batch=1)
    file = model.finish(build(model))
    graph, _ = from_onnx(save(file))
    images = np.random.default_rng(1).normal(size=(3, *IMAGE)).astype(np.float32)
    with torch.no_grad():
        together = graph(torch.from_numpy(images)).numpy()
    for image, result in zip(images, together, strict=True):
        expected = run_onnx(file, image[None])
        assert relative_difference(result.reshape(expected.shape), expected) <= 1e-5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m: m.add("Concat", _squeezed(m), _squeezed(m), axis=0), "first axis isn't the batch"),
        (lambda m: m.add("ReduceMean", _squeezed(m)), "changes the axes of a tensor without a batch"),
        (lambda m: m.add("Squeeze", m.add("ReduceMean", _map(m), axes=[1, 2, 3])), "an axis of 1, the last one"),
    ],
)
def test_what_is_refused_without_a_batch(
    build: Callable[[Model], str], message: str, save: Callable[[onnx.ModelProto], Path]
) -> None:
    model = Model(13, batch=1)
    refused(save(model.finish(build(model))), message)
