"""Forms of operators that aren't supported, and damaged files: one line each, and never another exception."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bitface.errors import BitfaceError
from bitface.graph import load_network
from support.onnx_models import Model, finished, refused, small_network

Save = Callable[[onnx.ModelProto], Path]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m: m.add("Conv", "image", "image"), "weights computed from the image"),
        (lambda m: m.add("Conv", "image", m.floats(3, 3, 3)), "convolution in 1 dimensions"),
        (lambda m: m.add("Conv", "image", m.floats(4, 2, 3, 3)), "can't take inputs of"),
        (lambda m: m.add("Conv", "image", m.floats(4, 3, 9, 9)), "can't take inputs of"),
        (lambda m: m.add("Conv", "image", m.floats(4, 3, 3, 3), group=0), "isn't as ONNX says"),
        (lambda m: m.add("Conv", "image", m.floats(4, 3, 3, 3), m.floats(3)), "isn't as ONNX says"),
        (lambda m: m.add("Conv", "image", m.floats(4, 3, 3, 3), strides=[0, 0]), "isn't as ONNX|can't take"),
        (lambda m: m.add("Conv", "image"), "isn't as ONNX says"),
        (lambda m: m.add("BatchNormalization", "image", *[m.floats(4)] * 4), "can't take inputs"),
        (lambda m: m.add("PRelu", "image", m.floats(8, 3)), "has slopes of shape"),
        (lambda m: m.add("PRelu", "image", "image"), "computes its slopes from the image"),
        (lambda m: m.add("PRelu", "image", m.floats(2, 1, 1)), "has slopes of shape"),
        (lambda m: m.add("Clip", "image", m.floats(), "image"), "isn't as ONNX says"),
        (lambda m: m.add("Clip", "image", m.constant(np.nan, np.float32)), "NaN or infinite"),
        (lambda m: m.add("LeakyRelu", "image", alpha=float("inf")), "NaN or infinite"),
        (lambda m: m.add("Add", "image", m.floats(5)), "can't take inputs"),
        (lambda m: m.add("Add", "image", m.floats(2, 1, 3, 8, 6)), "mixes the images"),
        (lambda m: m.add("Mul", "image", m.add("Shape", "image")), "computes with the number of images in a batch"),
        (lambda m: m.add("Mul", "image", m.add("ConstantOfShape", m.add("Shape", m.add("Flatten", "image")))),
         "can't take inputs"),
        (lambda m: m.add("Add", "image", m.constant(np.zeros((0, 1, 1, 1), np.float32))), "a constant that is empty"),
        (lambda m: m.add("Max", m.add("QuantizeLinear", "image", m.floats(low=0.1)), m.constant([1, 2], np.uint8)),
         "compares more than the integers of an image and one number"),
        (lambda m: m.add("Pow", m.floats(), "image"), "raises to more than one power"),
        (lambda m: m.add("Pow", "image", m.floats(6)), "raises to more than one power"),
        (lambda m: m.add("LRN", "image", size=2), "an even number of channels"),
        (lambda m: m.add("InstanceNormalization", "image", m.floats(2), m.floats(2)), "isn't as ONNX says|can't take"),
        (lambda m: m.add("Resize", "image", "", m.constant([1, 1, 2, 2], "f"), nearest_mode="simple"), "resizes by"),
        (lambda m: m.add("Resize", "image", "", "", m.ints(2, 3, 8, 6)), "resizes the batch"),
        (lambda m: m.add("Tile", "image", m.ints(2, 1, 1, 1)), "repeats"),
        (lambda m: m.add("Tile", "image", m.ints(1, 1, 10**9, 1)), "repeats"),
        (lambda m: m.add("DepthToSpace", "image", blocksize=2), "can't take inputs|mixes"),
        (lambda m: m.add("Where", m.constant([True, False]), "image", "image"), "can't take inputs"),
        (lambda m: m.add("Gemm", m.floats(2, 3), "image"), "something other than a constant matrix"),
        (lambda m: m.add("Gemm", m.add("Flatten", "image"), m.floats(144, 2), m.floats(2, 2)), "another bias"),
        (lambda m: m.add("MatMul", "image", m.floats(6)), r"mixes|can't take|no face network"),
        (lambda m: m.add("MaxPool", "image", kernel_shape=[2]), "isn't as ONNX says"),
        (lambda m: m.add("MaxPool", "image"), "isn't as ONNX says"),
        (lambda m: m.add("MaxPool", "image", kernel_shape=[3, 3], ceil_mode=1, pads=[0, 0, 1, 1]), "one side more"),
        (lambda m: m.add("ReduceMean", "image"), "reduces the batch"),
        (lambda m: m.add("ReduceMean", "image", axes=[9]), "isn't as ONNX says"),
        (lambda m: m.add("LpNormalization", "image", axis=0), "along axis 0"),
        (lambda m: m.add("Flatten", "image", axis=2), "flattens into the batch"),
        (lambda m: m.add("Reshape", "image", m.ints(-1, 6)), "mixes the batch"),
        (lambda m: m.add("Reshape", "image", m.ints(4, -1)), "mixes the batch"),
        (lambda m: m.add("Reshape", "image", m.ints(0, -1, 0, 0, 0, 0)), "mixes the batch"),
        (lambda m: m.add("Reshape", "image", m.ints(0, -1), allowzero=1), "empty tensor"),
        (lambda m: m.add("Squeeze", "image", m.ints(1)), "squeezes an axis longer than 1"),
        (lambda m: m.add("Unsqueeze", "image", m.ints(0)), "mixes the batch"),
        (lambda m: m.add("Transpose", "image"), "mixes the batch"),
        (lambda m: m.add("Concat", "image", "image", axis=0), "mixes the images"),
        (lambda m: m.add("Concat", "image", m.floats(1, 3, 8, 5), axis=1), "can't take inputs"),
        (lambda m: m.add("Concat", "image", m.constant(np.zeros((1, 3, 8, 5), np.float32)), axis=1), "joins"),
        (lambda m: m.add("Split", "image", m.ints(1, 1), axis=1, outputs=2)[0], "splits 3 into"),
        (lambda m: m.add("Split", "image", axis=0, outputs=2)[0], "slices the batch"),
        (lambda m: m.add("Slice", "image", m.ints(0), m.ints(1)), "slices the batch"),
        (lambda m: m.add("Slice", "image", m.ints(5), m.ints(2), m.ints(2)), "leaves nothing"),
        (lambda m: m.add("Slice", "image", m.ints(-1), m.ints(-9), m.ints(0), m.ints(-1)), "slices the batch"),
        (lambda m: m.add("Gather", "image", m.ints(3), axis=1), "isn't as ONNX says"),
        (lambda m: m.add("Gather", "image", m.ints(0), axis=0), "picks from the batch"),
        (lambda m: m.add("Pad", "image", m.ints(*[1] * 8), mode="reflect"), "pads the batch"),
        (lambda m: m.add("Pad", "image", m.ints(0, 1, 0, 0, 0, 0, 0, 0), mode="reflect"), "pads other axes"),
        (lambda m: m.add("Pad", "image", m.ints(0, 0, 1, 0, 0, 0, 1, 0), mode="wrap"), "pads by wrap"),
        (lambda m: m.add("Pad", "image", m.ints(1, 1)), "isn't as ONNX says"),
        (lambda m: m.add("Expand", "image", m.ints(2, 1, 1, 1)), "expands"),
        (lambda m: m.add("Cast", "image", to=TensorProto.INT32), "leaves floating point"),
        (lambda m: m.add("QuantizeLinear", "image", m.floats(3), axis=1), "quantizes an activation per channel"),
        (lambda m: m.add("DequantizeLinear", m.add("QuantizeLinear", "image", m.floats(low=0.1)), m.floats(low=0.1)),
         "doesn't give back what was quantized"),
        (lambda m: m.add("Add", "image", m.add("Reshape", m.floats(4), m.ints(3))), "isn't as ONNX says"),
        (lambda m: m.add("Add", "image", "nowhere"), "reads 'nowhere', which nothing computes"),
    ],
)  # fmt: skip
def test_forms_that_are_refused(build: Callable[[Model], str], message: str, save: Save) -> None:
    model = Model()
    build(model)
    refused(save(finished(model)), message)


def survives(path: Path) -> None:
    """It is a network or a BitfaceError of one line, nothing else."""
    message = ""
    try:
        load_network(path)
    except BitfaceError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bytes(seed: int, save: Save) -> None:
    path = save(finished(small_network(opset=21)))
    whole = path.read_bytes()
    random = np.random.default_rng(seed)
    for _ in range(20):
        damaged = np.frombuffer(whole, np.uint8).copy()
        # Most of the file is weights; the structure is what parsing stumbles over.
        places = random.integers(0, len(whole), 3)
        names = [whole.find(word) for word in (b"Conv", b"PRelu", b"Gemm", b"constant_1", b"pads", b"image")]
        places[0] = random.choice(names) + random.integers(-12, 12)
        damaged[places] = random.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        survives(path)


@settings(max_examples=100)
@given(data=st.data())
def test_attributes_and_shapes_of_any_kind(data: st.DataObject, save: Save) -> None:
    """Damage that protobuf can't see: other names, other numbers, other dimensions."""
    model = finished()
    node = data.draw(st.sampled_from(list(model.graph.node)))
    tensor = data.draw(st.sampled_from(list(model.graph.initializer)))
    match data.draw(st.integers(0, 6)):
        case 0:
            node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(
                st.sampled_from(["", "image", "nothing", "constant_0", "constant_2", "Flatten_2_0"])
            )
        case 1:
            node.op_type = data.draw(st.sampled_from(["Add", "Reshape", "Slice", "Split", "Concat", "Shape", "Clip"]))
        case 2:
            del node.attribute[:]
            number = st.integers(-3, 2**40)
            name = data.draw(st.sampled_from(["pads", "strides", "group", "axis", "transB", "dilations"]))
            value = data.draw(st.one_of(number, st.lists(number, min_size=1, max_size=5), st.text(), st.floats()))
            node.attribute.append(helper.make_attribute(name, value))
        case 3:
            tensor.dims[:] = data.draw(st.lists(st.integers(-1, 2**40), max_size=5))
        case 4:
            tensor.data_type = data.draw(st.integers(0, 30))
        case 5:
            tensor.raw_data = data.draw(st.binary(max_size=64))
        case 6:
            sides = model.graph.input[0].type.tensor_type.shape.dim
            sides[data.draw(st.integers(0, 3))].dim_value = data.draw(st.integers(-(2**40), 2**40))
    survives(save(model))
