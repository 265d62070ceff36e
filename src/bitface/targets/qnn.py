"""QNN, for Qualcomm's NPUs by ONNX Runtime: unsigned integers of 8 or 16 bits on both sides of every operator.

The package `onnxruntime-qnn` has the NPU's compiler and, for x86-64 Linux, a simulator: see `benchmarks/npus.py`.
"""

from torch.fx import GraphModule

from bitface.graph import Network
from bitface.graph.onnx_form import OnnxForm
from bitface.targets import onnx_rules
from bitface.targets.base import Holds, Rule, Target
from bitface.targets.every_tensor import every_tensor_rounded
from bitface.targets.onnx_file import RUNTIME_TELLS, emitter
from bitface.targets.onnx_rules import checked
from bitface.targets.registry import TARGETS

FORM = OnnxForm(
    signed_activations=False,
    integer_limits=True,
    sums_in_float=False,
    joins_held_apart=False,
    integer_slopes=True,
    integer_bias=("Conv", "Gemm"),
    batch=1,
)

_PAGE = "https://github.com/onnxruntime/onnxruntime-qnn/blob/main/docs/execution_providers/QNN-ExecutionProvider.md"
_CODE = "https://github.com/onnxruntime/onnxruntime-qnn/tree/main/onnxruntime/core/providers/qnn"
_GROUPS = f"{_CODE}/qnn_ep_utils.cc"
_KNOWN = (
    "Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Conv "
    "ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor "
    "Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample "
    "GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization Inverse LRN LSTM LayerNormalization "
    "LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean Min Mod Mul Neg Not "
    "OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Slice Softmax "
    "Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze "
    "Upsample Where Xor"
)

RULES = (
    Rule("Shapes are fixed, the batch too", f"{_PAGE}#model-requirements", checked(onnx_rules.fixed_shapes)),
    Rule(
        "Activations are uint8 or uint16",
        f"{_PAGE}#generating-a-quantized-model-x64-only",
        checked(onnx_rules.activation_types("uint8", "uint16")),
    ),
    Rule(
        "Weights are int8 without zero points",
        "not checked against the vendor's pages",
        checked(onnx_rules.weights_signed),
    ),
    Rule(
        "Weights have one scale, or one for each output channel along axis 0",
        f"{_CODE}/builder/opbuilder/conv_op_builder.cc",
        checked(onnx_rules.weights_per_output),
    ),
    Rule(
        "Activations have one scale each",
        f"{_CODE}/builder/opbuilder/simple_op_builder.cc",
        checked(onnx_rules.activations_per_tensor),
    ),
    Rule("Biases are int32", f"{_GROUPS} (OrtConvNodeGroupSelector)", checked(onnx_rules.bias_in_integers)),
    Rule(
        "What an operator reads and gives has one integer type, the slopes of a PReLU included",
        f"{_GROUPS} (OrtConvNodeGroupSelector, OrtBinaryNodeGroupSelector)",
        checked(onnx_rules.one_type),
    ),
    Rule(
        "A pair stands between a layer and its PReLU, as every operator of a quantized model reads and gives integers",
        f"{_GROUPS} (OrtConvNodeGroupSelector, OrtBinaryNodeGroupSelector)",
        checked(onnx_rules.no_layer_before("PRelu")),
    ),
    Rule(
        "Every operator is in the provider's list",
        f"{_PAGE}#supported-onnx-operators",
        checked(onnx_rules.operators_of(_KNOWN)),
    ),
)


def rounded(graph: GraphModule) -> GraphModule:
    """The graph as it is written: what a PReLU reads, and its slopes, in integers too."""
    return every_tensor_rounded(graph, slopes=True)


_emit = emitter(FORM, rounded)


def usage(network: Network) -> str:
    shape = f"[1, {network.channels}, {network.size.height}, {network.size.width}]"
    return f"""\
The batch is 1. Windows on Snapdragon, and the simulator on x86-64 Linux (`pip install onnxruntime-qnn`):

```python
import onnxruntime as ort, onnxruntime_qnn as qnn

ort.register_execution_provider_library("QNN", qnn.get_library_path())
npu = [device for device in ort.get_ep_devices() if device.ep_name == "QNN"]
options = ort.SessionOptions()
options.add_provider_for_devices(npu, {{"backend_path": qnn.get_qnn_htp_path()}})
session = ort.InferenceSession("model.onnx", options)
embedding = session.run(None, {{"image": image}})[0]  # image: float32 {shape}
```

Android (`com.microsoft.onnxruntime:onnxruntime-android-qnn`), in Kotlin:

```kotlin
val options = OrtSession.SessionOptions()
options.addQnn(mapOf("backend_path" to "libQnnHtp.so"))
val session = OrtEnvironment.getEnvironment().createSession("model.onnx", options)
```

In C++:

```cpp
Ort::SessionOptions options;
options.AppendExecutionProvider("QNN", {{{{"backend_path", "libQnnHtp.so"}}}});
Ort::Session session(env, "model.onnx", options);
```

The option `session.disable_cpu_ep_fallback` set to `1` turns a part that the NPU doesn't take into an error.

{RUNTIME_TELLS}"""


TARGETS.register("qnn")(
    Target(
        title="QNN",
        holds=Holds(
            activation_bits=16,
            integer_bits=16,
            weight_zero_points=False,
            fewer_bits=False,
            operators=frozenset({"Conv", "Linear", "Add", "MaxPool", "PRelu"}),
            prelu="in integers, its slopes too; the layer before it is rounded",
        ),
        rounds="The output of a layer before a PReLU, the slopes of the PReLU and the embedding are rounded, too, to "
        "the bits of the layer.",
        suffix=".onnx",
        emit=_emit,
        package="onnxruntime-qnn",
        simulate=rounded,
        usage=usage,
        rules=RULES,
    )
)
