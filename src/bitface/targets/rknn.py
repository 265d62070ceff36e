"""RKNN, for Rockchip's NPUs: a QDQ file that rknn-toolkit2 takes as it is, and the script that converts it.

The toolkit calibrates anew unless a file brings its own integers. Its builder stops where a PReLU reads the sums of a
layer, so a pair stands between them; the NPU's kernel for both then leaves that rounding out.
"""

from collections.abc import Mapping
from pathlib import Path

from bitface.files import write_bytes
from bitface.graph import Network
from bitface.graph.onnx_form import OnnxForm
from bitface.targets import onnx_rules
from bitface.targets.base import Holds, Rule, Target
from bitface.targets.every_tensor import every_tensor_rounded
from bitface.targets.onnx_file import emitter
from bitface.targets.onnx_rules import checked
from bitface.targets.registry import TARGETS

# Biases as floats are converted to the same integers, and a third of their bytes.
FORM = OnnxForm(sums_in_float=False, joins_held_apart=False, batch=1)
MODEL, SCRIPT = "model.onnx", "convert.py"

_CHANGES = "https://github.com/airockchip/rknn-toolkit2/blob/master/CHANGELOG.md"
_LIST = "https://github.com/airockchip/rknn-toolkit2/blob/master/doc/RKNNToolKit2_OP_Support-v2.1.0.md"
_TRIED = "tried with rknn-toolkit2 2.5.0"
_UNCHECKED = "not checked against the vendor's pages"
_KNOWN = (
    "Add And ArgMax ArgMin AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv "
    "ConvTranspose Cos DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather "
    "GatherElements Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Identity "
    "InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization "
    "MatMul Max MaxPool Min Mish Mod Mul Or PRelu Pad Pow QuantizeLinear ReduceMax ReduceMean ReduceMin ReduceSum "
    "Relu Reshape Resize ScatterND Shape Sigmoid Sin Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub "
    "Tanh Tile Transpose Unsqueeze Where"
)

_CONVERT = '''\
"""Makes model.rknn of model.onnx: python convert.py --platform rk3588

It needs Rockchip's toolkit: pip install rknn-toolkit2 (x86-64 or ARM64 Linux). The file has its integers already, so
nothing is calibrated here. The board takes the face as uint8 [1, {height}, {width}, {channels}]; MEAN and STD are the
network's, in pixel units.
"""

import argparse
import pathlib
import sys

from rknn.api import RKNN

HERE = pathlib.Path(__file__).resolve().parent
MEAN, STD = {mean}, {std}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", default="rk3588", help="rk3588, rk3576, rk3568, rk3566, rk3562, rv1126b, ...")
    parser.add_argument("--out", default=str(HERE / "model.rknn"))
    arguments = parser.parse_args()
    rknn = RKNN()
    rknn.config(target_platform=arguments.platform, mean_values=[MEAN], std_values=[STD])
    failed = (
        rknn.load_onnx(model=str(HERE / "model.onnx"))
        or rknn.build(do_quantization=False)
        or rknn.export_rknn(arguments.out)
    )
    rknn.release()
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
'''

RULES = (
    Rule("The opset is 12 to 19", f"{_CHANGES} (v1.6.0)", checked(onnx_rules.opset_within(12, 19))),
    Rule(
        "The IR version is 10 at most",
        "the toolkit's package asks for onnx 1.16 to 1.18",
        checked(onnx_rules.ir_up_to(10)),
    ),
    Rule("Shapes are fixed, the batch too", _TRIED, checked(onnx_rules.fixed_shapes)),
    Rule("A pair stands between a layer and its PReLU", _TRIED, checked(onnx_rules.no_layer_before("PRelu"))),
    Rule(
        "Activations have 8 bits, as in w8a8",
        "the toolkit's help of RKNN.config (quantized_dtype)",
        checked(onnx_rules.activation_types("int8", "uint8")),
    ),
    Rule("Activations have one scale each", _UNCHECKED, checked(onnx_rules.activations_per_tensor)),
    Rule("Weights are int8 without zero points", _UNCHECKED, checked(onnx_rules.weights_signed)),
    Rule(
        "Weights have one scale, or one for each output channel along axis 0",
        f"{_CHANGES} (v1.0)",
        checked(onnx_rules.weights_per_output),
    ),
    Rule(
        "Linear layers of sequences have float weights",
        f"{_TRIED}, whose builder stops",
        checked(onnx_rules.no_weights_of_sequences),
    ),
    Rule("Every operator is in the toolkit's list", _LIST, checked(onnx_rules.operators_of(_KNOWN))),
)

_write_model = emitter(FORM, every_tensor_rounded)


def emit(network: Network, facts: Mapping[str, str], folder: Path) -> None:
    _write_model(network, facts, folder / MODEL)
    preprocess, channels = network.preprocess, network.channels
    script = _CONVERT.format(
        height=network.size.height,
        width=network.size.width,
        channels=channels,
        mean=list(preprocess.mean[:channels]) if preprocess else [0.0] * channels,
        std=list(preprocess.std[:channels]) if preprocess else [1.0] * channels,
    )
    write_bytes(folder / SCRIPT, script.encode())


def usage(network: Network) -> str:
    height, width, channels = network.size.height, network.size.width, network.channels
    return f"""\
The numbers above are those of `model.onnx`. The script hands mean and std to the NPU: `model.rknn` takes the pixels of
the face as they are, uint8 `[1, {height}, {width}, {channels}]`, in the same order of channels.

On a PC, with `pip install rknn-toolkit2` in an environment of its own, as it needs older packages (its list lacks one:
setuptools below 80):

```sh
python convert.py --platform rk3588
```

On the board (`pip install rknn-toolkit-lite2`):

```python
from rknnlite.api import RKNNLite

rknn = RKNNLite()
rknn.load_rknn("model.rknn")
rknn.init_runtime()
embedding = rknn.inference(inputs=[face])[0]  # face: uint8 [1, {height}, {width}, {channels}]
```

```cpp
rknn_context context;
rknn_init(&context, model, size, 0, nullptr);
rknn_input input = {{}};
input.type = RKNN_TENSOR_UINT8;
input.fmt = RKNN_TENSOR_NHWC;
input.buf = face;  // {height} x {width} x {channels}
input.size = {height * width * channels};
rknn_inputs_set(context, 1, &input);
rknn_run(context, nullptr);
rknn_output output = {{}};
output.want_float = 1;
rknn_outputs_get(context, 1, &output, nullptr);  // {network.embedding_size} floats at output.buf
```"""


TARGETS.register("rknn")(
    Target(
        title="RKNN",
        holds=Holds(
            weight_zero_points=False,
            fewer_bits=False,
            operators=frozenset({"Conv", "Linear", "Add", "MaxPool", "PRelu"}),
            prelu="fused into the layer before it",
        ),
        rounds="The embedding is rounded, what is left in float has half precision, and the compiler's kernels have an "
        "arithmetic of their own.",
        emit=emit,
        package="rknn-toolkit2",
        simulate=lambda graph: graph,
        usage=usage,
        rules=RULES,
    )
)
