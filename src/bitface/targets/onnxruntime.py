"""ONNX Runtime, for portability: uint8 activations, a pair on both sides of every layer.

It has no integer PReLU, so PReLUs are written in operators that have integer kernels; see `graph.onnx_prelu`.
"""

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from bitface.graph.onnx_form import OnnxForm
from bitface.targets.base import Holds, Run, Settings, Target
from bitface.targets.onnx_file import RUNTIME_TELLS, content, emitter
from bitface.targets.registry import TARGETS
from bitface.telemetry import silenced

if TYPE_CHECKING:
    from bitface.graph import Network

# Its fast kernels take uint8 activations only. It rounds biases of convolutions by itself, but none of linear layers.
FORM = OnnxForm(
    signed_activations=False,
    integer_prelu=False,
    integer_limits=True,
    sums_in_float=False,
    joins_held_apart=False,
    integer_bias=("Gemm",),
)


def start(source: "Network | Path", settings: Settings) -> Run:
    """ONNX Runtime on the CPU. Where there are several streams, a call computes in the thread that it comes from."""
    with silenced():
        import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Exact sums on x86 CPUs without VNNI, where the fast ones saturate; elsewhere it does nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if threads := settings.threads if settings.streams == 1 else 1:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(content(source, FORM), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


_USAGE = """```python
import onnxruntime as ort

options = ort.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # exact sums on x86 CPUs without VNNI
session = ort.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
embedding = session.run(None, {{"image": image}})[0]  # image: float32 {image}
```

```cpp
Ort::Env env;
Ort::SessionOptions options;
options.AddConfigEntry("session.x64quantprecision", "1");
Ort::Session session(env, ORT_TSTR("model.onnx"), options);
const char *inputs[] = {{"image"}}, *outputs[] = {{"embedding"}};
std::array<int64_t, 4> shape{{{shape}}};
Ort::Value input = Ort::Value::CreateTensor<float>(
    Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault), image, {count}, shape.data(), shape.size());
auto result = session.Run(Ort::RunOptions{{}}, inputs, &input, 1, outputs, 1);
const float *embedding = result[0].GetTensorData<float>();
```

{tells}"""


def usage(network: "Network") -> str:
    shape = [1, network.channels, *network.size]
    return _USAGE.format(image=shape, shape=", ".join(map(str, shape)), count=prod(shape), tells=RUNTIME_TELLS)


TARGETS.register("onnxruntime")(
    Target(
        title="ONNX Runtime",
        holds=Holds(
            activation_bits=16,
            operators=frozenset({"Conv", "Linear", "Add", "MaxPool", "PRelu"}),
            prelu="in integers: split into layers of one sign where that is cheap, otherwise rounded once more and in "
            "float",
        ),
        rounds="The output of a dear layer before a PReLU, and of a convolution before other operators in float (a "
        "maximum, hard-swish, …), is rounded once more.",
        suffix=".onnx",
        emit=emitter(FORM),
        start=start,
        package="onnxruntime",
        usage=usage,
    )
)
