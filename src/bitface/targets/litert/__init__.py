"""LiteRT (TensorFlow Lite): phones by Android's own runtime, boards, and microcontrollers by tflite-micro.

In: a network in float or with its integers; out: a `.tflite` file with the same scales, or embeddings.
"""

from bitface.targets.base import Holds, Target
from bitface.targets.litert.emit import emit, emit_for_pixels
from bitface.targets.litert.engine import start
from bitface.targets.litert.rounding import rounded
from bitface.targets.litert.usage import pixel_usage, usage
from bitface.targets.registry import TARGETS

_HOLDS = Holds(
    activation_bits=16,
    integer_bits=16,
    weight_zero_points=False,
    operators=frozenset({"Conv", "Linear", "Add", "Mul", "Sub", "Concat", "MaxPool"}),
    prelu="in float, between integers",
)
_ROUNDS = (
    "The output of a layer before a PReLU or another operator in float, and the embedding, is rounded once more, in "
    "the range that was measured of it; activations of 16 bits have no zero point."
)
TARGETS.register("litert")(
    Target(
        title="LiteRT",
        holds=_HOLDS,
        rounds=_ROUNDS,
        suffix=".tflite",
        emit=emit,
        start=start,
        package="ai-edge-litert",
        imports="ai_edge_litert",
        extra="litert",
        simulate=rounded,
        channels_last=True,
        usage=usage,
    )
)
TARGETS.register("litert-uint8")(
    Target(
        title="LiteRT (uint8 image)",
        holds=_HOLDS,
        rounds=_ROUNDS,
        suffix=".tflite",
        emit=emit_for_pixels,
        channels_last=True,
        pixels=True,
        usage=pixel_usage,
    )
)
