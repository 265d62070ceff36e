"""How a `.tflite` file is run: Python, Android, microcontrollers."""

from bitface.graph import Network
from bitface.targets.litert.emit import tflite
from bitface.targets.litert.micro import arena_bytes
from bitface.targets.litert.schema import Op

# Those that `MicroMutableOpResolver` calls otherwise than word by word.
_MICRO_NAMES = {Op.BATCH_MATMUL: "BatchMatMul", Op.PADV2: "PadV2"}


def usage(network: Network) -> str:
    """With a float32 image."""
    return _usage(network, pixels=False)


def pixel_usage(network: Network) -> str:
    """With a uint8 image."""
    return _usage(network, pixels=True)


def _usage(network: Network, pixels: bool) -> str:
    file = tflite(network, pixels)
    kotlin = "writeInt8" if pixels else "writeFloat"
    content = file.content({})
    arena = arena_bytes(content)
    needs = f"an arena of {arena:,} bytes" if arena else "an arena whose size `interpreter.arena_used_bytes()` tells"
    adds = "\n".join(f"resolver.Add{_micro_name(op)}();" for op in file.kinds)
    return f"""\
Python, `pip install ai-edge-litert`:

```python
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite", num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
interpreter.invoke()
embedding = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
```

Android, in Kotlin, with `com.google.ai.edge.litert:litert` (not run here):

```kotlin
val model = CompiledModel.create(context.assets, "model.tflite", CompiledModel.Options(Accelerator.CPU))
val inputs = model.createInputBuffers()
val outputs = model.createOutputBuffers()
inputs[0].{kotlin}(image)
model.run(inputs, outputs)
val embedding = outputs[0].readFloat()
```

Microcontrollers, in C++, with tflite-micro; it takes {len(content):,} bytes of flash and {needs}:

```cpp
tflite::MicroMutableOpResolver<{len(file.kinds)}> resolver;
{adds}
tflite::MicroInterpreter interpreter(tflite::GetModel(model_tflite), resolver, arena, sizeof(arena));
interpreter.AllocateTensors();
memcpy(interpreter.input(0)->data.raw, image, interpreter.input(0)->bytes);
interpreter.Invoke();
const float* embedding = interpreter.output(0)->data.f;
```
"""


def _micro_name(op: Op) -> str:
    words = "".join(word.capitalize() for word in op.name.split("_"))
    return _MICRO_NAMES.get(op, words.replace("2d", "2D"))
