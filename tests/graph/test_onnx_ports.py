"""Which input of a file is the image and which output the embedding, in every form that exporters give them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, load_network
from bitface.graph.ops import Transpose
from support.onnx_models import Model, finished, refused, relative_difference, small_network

Save = Callable[[onnx.ModelProto], Path]
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
HEIGHT, WIDTH = 8, 6


def with_outputs(model: Model, *names: str) -> onnx.ModelProto:
    whole = finished(model)
    del whole.graph.output[:]
    whole.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    return whole


def with_image(model: onnx.ModelProto, kind: int, *sides: int | str) -> onnx.ModelProto:
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("image", kind, sides))
    return model


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    for node in model.graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)
    return model


def by_onnx(model: onnx.ModelProto, images: np.ndarray, output: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run([output], {"image": images})[0]
    return result


def embedded(network: Network, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network.graph(torch.from_numpy(np.ascontiguousarray(images))))


def pixels(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, channels), np.uint8)


# Outputs


def backbone(size: int = 64) -> tuple[Model, str]:
    """A network, and the name of its vector before anything is done with it."""
    model = Model()
    x = model.add("Flatten", model.add("PRelu", model.add("Conv", "image", model.floats(4, 3, 3, 3)), model.floats(1)))
    return model, model.add("Gemm", x, model.floats(size, 96), transB=1)


def adaface() -> tuple[Model, list[str], str]:
    model, x = backbone()
    norm = model.add("ReduceL2", x, axes=[1], keepdims=1)
    feature = model.add("Div", x, norm)
    return model, [norm, feature], feature


def with_its_raw_vector() -> tuple[Model, list[str], str]:
    model, x = backbone()
    feature = model.add("LpNormalization", x)
    return model, [x, feature], feature


def with_the_map_before() -> tuple[Model, list[str], str]:
    model, x = backbone()
    return model, [model.nodes[0].output[0], x], x


def with_a_head() -> tuple[Model, list[str], str]:
    model, x = backbone()
    return model, [model.add("Gemm", x, model.floats(5000, 64), transB=1), x], x


def with_probabilities() -> tuple[Model, list[str], str]:
    model, x = backbone()
    return model, [model.add("Softmax", model.add("Gemm", x, model.floats(40, 64), transB=1)), x], x


def with_landmarks() -> tuple[Model, list[str], str]:
    model, x = backbone()
    maps = model.add("Flatten", model.nodes[0].output[0])
    return model, [model.add("Gemm", maps, model.floats(10, 96), transB=1), x], x


def with_something_unknown() -> tuple[Model, list[str], str]:
    model, x = backbone()
    return model, [model.add("NonZero", model.nodes[0].output[0]), x], x


SEVERAL = [
    adaface, with_its_raw_vector, with_the_map_before, with_a_head, with_probabilities, with_landmarks,
    with_something_unknown,
]  # fmt: skip


@pytest.mark.parametrize("build", SEVERAL)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_embedding_is_found(build: Callable[[], tuple[Model, list[str], str]], backwards: bool, save: Save) -> None:
    model, names, right = build()
    whole = with_outputs(model, *(names[::-1] if backwards else names))
    network = load_network(save(whole))
    images = np.random.default_rng(1).standard_normal((2, 3, HEIGHT, WIDTH), np.float32)
    assert relative_difference(embedded(network, images), by_onnx(with_outputs(model, right), images, right)) <= 1e-4
    assert f"its output '{right}' [N, 64] is taken as the embedding" in " ".join(network.notes)


def test_an_output_is_named(save: Save) -> None:
    model, names, right = with_its_raw_vector()
    path = save(with_outputs(model, *names))
    raw, normalised = (load_network(path, output=name) for name in names)
    assert raw.fingerprint() != normalised.fingerprint()
    assert not raw.notes
    assert normalised.fingerprint() == load_network(path).fingerprint()
    with pytest.raises(UsageError, match=rf"has no output '{right}x'; did you mean '{right}'\? \(it has Gemm_3_0, "):
        load_network(path, output=right + "x")


def test_outputs_that_may_both_be_meant(save: Save) -> None:
    model, x = backbone()
    other = model.add("Gemm", "Flatten_2_0", model.floats(64, 96), transB=1)
    refused(save(with_outputs(model, x, other)), f"2 outputs .* of which '{x}' and '{other}' may be the embedding; say")
    names = {x: "embedding", other: "attributes"}
    assert load_network(save(renamed(with_outputs(model, x, other), names))).embedding_size == 64
    refused(save(with_outputs(model, "Conv_0_0", "PRelu_1_0")), "none looks like an embedding; output='NAME' takes one")


def test_what_only_another_output_needs_is_not_read(save: Save) -> None:
    model, x = backbone()
    other = model.add("NonZero", x)
    path = save(with_outputs(model, x, other))
    assert load_network(path, output=x).embedding_size == 64
    with pytest.raises(BitfaceError, match="'NonZero' of opset 17, an operator bitface doesn't know"):
        load_network(path, output=other)


@pytest.mark.parametrize("sides", [(5, 1, 1), (1, 5, 1), (1, 5), (1, 1, 5)])
def test_an_output_of_more_axes_is_a_vector(sides: tuple[int, ...], save: Save) -> None:
    model = small_network()
    model.add("Reshape", model.nodes[-1].output[0], model.ints(-1, *sides))
    network = load_network(save(finished(model)))
    assert network.embedding_size == 5
    assert embedded(network, np.ones((2, 3, HEIGHT, WIDTH), np.float32)).shape == (2, 5)


# Inputs


def normalising(model: Model, x: str, channels: int, channels_last: bool) -> str:
    """Mean, deviation and slope as a file with the channels last holds them, and a network behind."""
    shape = (channels,) if channels_last else (channels, 1, 1)
    x = model.add("Div", model.add("Sub", x, model.floats(*shape)), model.floats(*shape, low=0.5))
    if channels_last:
        x = model.add("Transpose", x, perm=[0, 3, 1, 2])
    return convolved(model, x, channels)


def convolved(model: Model, x: str, channels: int) -> str:
    return model.add("Flatten", model.add("Conv", x, model.floats(40, channels, HEIGHT, WIDTH)))


@pytest.mark.parametrize("kind", [FLOAT, UINT8])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_images_as_files_take_them(kind: int, channels: int, channels_last: bool, save: Save) -> None:
    model = Model()
    x = model.add("Cast", "image", to=FLOAT) if kind == UINT8 else "image"
    output = normalising(model, x, channels, channels_last)
    sides = (HEIGHT, WIDTH, channels) if channels_last else (channels, HEIGHT, WIDTH)
    whole = with_image(finished(model), kind, "people", *sides)
    network = load_network(save(whole))
    images = pixels(channels)
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    entering = (images if channels_last else first).astype(np.uint8 if kind == UINT8 else np.float32)
    found = embedded(network, first.astype(np.float32))
    assert relative_difference(found, by_onnx(whole, entering, output)) <= 1e-4
    assert (network.size, network.channels) == ((HEIGHT, WIDTH), channels)
    assert network.preprocess is not None
    assert network.preprocess.name == ("rgb-raw" if channels == 3 else "grey-raw")
    assert not any(isinstance(module, Transpose) for module in network.graph.modules())
    assert bool(network.notes) == (kind == UINT8 or channels_last)


def cast_late(m: Model) -> str:
    return m.add("Cast", m.add("Transpose", "image", perm=[0, 3, 1, 2]), to=FLOAT)


def by_way_of_int32(m: Model) -> str:
    return m.add("Transpose", m.add("Cast", m.add("Cast", "image", to=TensorProto.INT32), to=FLOAT), perm=[0, 3, 1, 2])


def dequantized(m: Model) -> str:
    x = m.add("DequantizeLinear", "image", m.constant(0.0078, np.float32), m.constant(128, np.uint8))
    return m.add("Transpose", x, perm=[0, 3, 1, 2])


def blue_first(m: Model) -> str:
    x = m.add("Slice", "image", m.ints(-1), m.ints(-(2**31)), m.ints(3), m.ints(-1))
    return m.add("Transpose", m.add("Cast", x, to=FLOAT), perm=[0, 3, 1, 2])


def blue_first_by_gather(m: Model) -> str:
    return m.add("Gather", cast_late(m), m.ints(2, 1, 0), axis=1)


@pytest.mark.parametrize("begin", [cast_late, by_way_of_int32, dequantized, blue_first, blue_first_by_gather])
def test_pixels_become_floats_somewhere(begin: Callable[[Model], str], save: Save) -> None:
    model = Model()
    output = convolved(model, begin(model), 3)
    whole = with_image(finished(model), UINT8, 1, HEIGHT, WIDTH, 3)
    images = pixels()[:1]
    found = embedded(load_network(save(whole)), images.transpose(0, 3, 1, 2).astype(np.float32))
    assert relative_difference(found, by_onnx(whole, images, output)) <= 1e-4


def test_arithmetic_in_uint8_is_refused(save: Save) -> None:
    model = Model()
    convolved(model, model.add("Cast", model.add("Add", "image", model.constant(9, np.uint8)), to=FLOAT), 3)
    refused(save(with_image(finished(model), UINT8, 1, 3, HEIGHT, WIDTH)), r"\(Add\) computes with the integers")


def test_pixels_are_not_normalised_outside(save: Save) -> None:
    model = Model()
    convolved(model, model.add("Cast", "image", to=FLOAT), 3)
    path = save(with_image(finished(model), UINT8, 1, 3, HEIGHT, WIDTH))
    assert load_network(path, "bgr-raw").size == (HEIGHT, WIDTH)
    with pytest.raises(UsageError, match=r"takes uint8 images, .* 'rgb-imagenet' would be wrong; use one of rgb-raw"):
        load_network(path, "rgb-imagenet")
    with pytest.raises(UsageError, match="takes images of three colours, not 'grey-raw'"):
        load_network(path, "grey-raw")


def test_free_channels_last(save: Save) -> None:
    model = Model()
    x = model.add("Conv", model.add("Transpose", "image", perm=[0, 3, 1, 2]), model.floats(40, 3, 3, 3))
    model.add("Flatten", model.add("GlobalAveragePool", x))
    network = load_network(save(with_image(finished(model), FLOAT, "n", "h", "w", "c")))
    assert (network.size, network.channels) == ((112, 112), 3)


def test_channels_last_inside(save: Save) -> None:
    """Arithmetic and a PReLU between transposes end as operators on channels."""
    model = Model()
    x = model.add("Transpose", model.add("Conv", "image", model.floats(4, 3, 3, 3)), perm=[0, 2, 3, 1])
    x = model.add(
        "PRelu", model.add("Add", model.add("Mul", x, model.floats(4)), model.floats(1, 1, 4)), model.floats(4)
    )
    other = model.add("Transpose", model.add("Conv", "image", model.floats(4, 3, 3, 3)), perm=[0, 2, 3, 1])
    x = model.add("Clip", model.add("Add", x, other), model.constant(-9, np.float32), model.constant(6, np.float32))
    output = model.add(
        "Flatten", model.add("Conv", model.add("Transpose", x, perm=[0, 3, 1, 2]), model.floats(8, 4, 6, 4))
    )
    whole = finished(model)
    images = np.random.default_rng(1).standard_normal((2, 3, HEIGHT, WIDTH), np.float32)
    network = load_network(save(whole))
    assert not any(isinstance(module, Transpose) for module in network.graph.modules())
    assert relative_difference(embedded(network, images), by_onnx(whole, images, output)) <= 1e-4


@pytest.mark.parametrize(
    "between",
    [
        lambda m, x: m.add("Where", m.add("Less", x, m.floats(4)), m.add("Neg", x), x),
        lambda m, x: m.add("Where", m.add("Equal", x, x), x, m.floats(6, 4, 1)),
        lambda m, x: m.add("Mul", x, m.add("Cast", m.add("GreaterOrEqual", x, m.floats(1, 1, 4)), to=FLOAT)),
        lambda m, x: m.add("Log", m.add("Softplus", m.add("Softsign", m.add("ThresholdedRelu", x, alpha=0.1)))),
        lambda m, x: m.add("Max", m.add("Identity", x), m.add("Dropout", x), m.floats(4)),
    ],
)
def test_what_computes_number_by_number_is_between_no_transposes(
    between: Callable[[Model, str], str], save: Save
) -> None:
    model = Model()
    x = between(model, model.add("Transpose", model.add("Conv", "image", model.floats(4, 3, 3, 3)), perm=[0, 2, 3, 1]))
    output = model.add("Flatten", model.add("Transpose", x, perm=[0, 3, 1, 2]))
    whole = finished(model)
    images = np.random.default_rng(1).standard_normal((2, 3, HEIGHT, WIDTH), np.float32)
    network = load_network(save(whole))
    assert not any(isinstance(module, Transpose) for module in network.graph.modules())
    assert relative_difference(embedded(network, images), by_onnx(whole, images, output)) <= 1e-4


def test_a_flag_of_training_is_false(save: Save) -> None:
    model = Model()
    flag = model.add("Not", "phase_train")
    gain = model.add("Cast", flag, to=FLOAT)
    output = model.add("Flatten", model.add("Mul", model.add("Conv", "image", model.floats(4, 3, 3, 3)), gain))
    whole = finished(model)
    for shape in ([], [1]):
        del whole.graph.input[1:]
        whole.graph.input.append(helper.make_tensor_value_info("phase_train", TensorProto.BOOL, shape))
        network = load_network(save(whole))
        assert network.notes[0].endswith("its input 'phase_train' is taken as false")
        images = np.random.default_rng(1).standard_normal((2, 3, HEIGHT, WIDTH), np.float32)
        session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run([output], {"image": images, "phase_train": np.zeros(shape, bool)})[0]
        assert relative_difference(embedded(network, images), expected) <= 1e-4


@pytest.mark.parametrize(
    ("shape", "message"), [([1, 3, HEIGHT, WIDTH], "2 inputs"), ([1], "reads 'other', an input beside the image")]
)
def test_other_inputs_are_refused(shape: list[int], message: str, save: Save) -> None:
    model = Model()
    model.add("Flatten", model.add("Mul", model.add("Conv", "image", model.floats(4, 3, 3, 3)), "other"))
    whole = finished(model)
    whole.graph.input.append(helper.make_tensor_value_info("other", FLOAT, shape))
    refused(save(whole), message)


# Old opsets


@pytest.mark.parametrize("opset", [7, 8])
def test_files_of_mxnet(opset: int, save: Save) -> None:
    """`spatial` 0 with numbers per channel, a slope `[C]`, weights listed as inputs, Dropout without a mode."""
    model = Model(opset)
    numbers = [model.floats(5, low=0.5) for _ in range(4)]
    x = model.add("Conv", "image", model.floats(5, 3, 3, 3))
    x = model.add("BatchNormalization", x, *numbers, spatial=0, momentum=0.9, epsilon=2e-5)
    x = model.add("PRelu", x, model.floats(5))
    x = model.add("Dropout", x, ratio=0.4)
    model.add("Reshape", x, model.ints(0, -1))
    whole = finished(model)
    path = save(whole)
    images = np.random.default_rng(1).standard_normal((2, 3, HEIGHT, WIDTH), np.float32)
    found = embedded(load_network(path), images)
    # ONNX Runtime has none of these forms: the same in those of opset 9.
    for node in whole.graph.node:
        kept = [one for one in node.attribute if one.name != "spatial"]
        del node.attribute[:]
        node.attribute.extend(kept)
    whole.opset_import[0].version = 9
    slope = next(tensor for tensor in whole.graph.initializer if tensor.name == "constant_5")
    slope.dims[:] = [5, 1, 1]
    assert relative_difference(found, by_onnx(whole, images, whole.graph.output[0].name)) <= 1e-4


def test_statistics_of_every_place_are_refused(save: Save) -> None:
    model = Model(8)
    x = model.add("Conv", "image", model.floats(4, 3, 3, 3))
    model.add("BatchNormalization", x, *(model.floats(4, 6, 4, low=0.5) for _ in range(4)), spatial=0)
    refused(save(finished(model)), "has statistics of every place")
