"""TensorRT: signed activations of 8 bits without zero points, biases in float; PReLU and additions as in the graph."""

from bitface.graph import Network
from bitface.graph.onnx_form import OnnxForm
from bitface.targets import onnx_rules
from bitface.targets.base import Holds, Rule, Target
from bitface.targets.onnx_file import emitter
from bitface.targets.onnx_rules import checked
from bitface.targets.registry import TARGETS

FORM = OnnxForm(sums_in_float=False, joins_held_apart=False)

_TYPES = "https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html"
_OPSETS = "https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/onnx-opset-guide.html"
_OPERATORS = "https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md"
_PARSER = "https://github.com/onnx/onnx-tensorrt/blob/main/onnxOpImporters.cpp (QuantDequantLinearHelper)"
_KNOWN = (
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil "
    "Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace "
    "DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements "
    "GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample "
    "GroupNormalization HardSigmoid HardSwish Hardmax Identity If ImageScaler InstanceNormalization IsInf IsNaN LRN "
    "LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max "
    "MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad "
    "ParametricSoftplus Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range "
    "Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round ScaledTanh Scan Scatter ScatterElements "
    "ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt "
    "Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor"
)

RULES = (
    Rule(
        "Activations are int8: the scheme is symmetric, and uint8 isn't quantized",
        _TYPES,
        checked(onnx_rules.activation_types("int8")),
    ),
    Rule("Zero points are 0", _OPERATORS, checked(onnx_rules.zero_points_zero)),
    Rule("Weights are int8 without zero points", _OPERATORS, checked(onnx_rules.weights_signed)),
    Rule(
        "Weights have one scale, or one for each output channel along axis 0",
        _PARSER,
        checked(onnx_rules.weights_per_output),
    ),
    Rule("Activations have one scale each", _PARSER, checked(onnx_rules.activations_per_tensor)),
    Rule("Scales are constants above 0", _PARSER, checked(onnx_rules.scales_positive)),
    Rule(
        "Biases are floats: int32 isn't dequantized",
        "https://github.com/onnx/onnx-tensorrt/issues/850",
        checked(onnx_rules.bias_in_float),
    ),
    Rule("The opset is 9 to 20", _OPERATORS, checked(onnx_rules.opset_within(9, 20))),
    Rule("Every operator is in the parser's list", _OPERATORS, checked(onnx_rules.operators_of(_KNOWN))),
)


def usage(network: Network) -> str:
    size = f"{network.channels}x{network.size.height}x{network.size.width}"
    return f"""\
Once, on the machine that runs it (an engine belongs to one GPU and one version of TensorRT):

```sh
trtexec --onnx=model.onnx --saveEngine=model.engine --stronglyTyped \\
    --minShapes=image:1x{size} --optShapes=image:1x{size} --maxShapes=image:16x{size}
```

TensorRT 8.6 to 9 has no `--stronglyTyped`; `--int8 --fp16` stands in its place there.

```python
import tensorrt as trt, torch

engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(open("model.engine", "rb").read())
context = engine.create_execution_context()
image = torch.from_numpy(images).cuda()  # float32 [N, {network.channels}, {network.size.height}, {network.size.width}]
embedding = torch.empty(len(images), {network.embedding_size}, device="cuda")
context.set_input_shape("image", tuple(image.shape))
context.set_tensor_address("image", image.data_ptr())
context.set_tensor_address("embedding", embedding.data_ptr())
context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
```

```cpp
std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
context->setInputShape("image", nvinfer1::Dims4(1, {size.replace("x", ", ")}));
context->setTensorAddress("image", deviceImage);
context->setTensorAddress("embedding", deviceEmbedding);
context->enqueueV3(stream);
```"""


TARGETS.register("tensorrt")(
    Target(
        title="TensorRT",
        holds=Holds(
            unsigned=False,
            zero_points=False,
            weight_zero_points=False,
            operators=frozenset({"Conv", "Linear", "Add", "MaxPool"}),
        ),
        rounds="Nothing in the file. What its kernels round themselves isn't measured: nothing was run on a GPU.",
        suffix=".onnx",
        emit=emitter(FORM),
        package="tensorrt",
        simulate=lambda graph: graph,
        usage=usage,
        rules=RULES,
    )
)
