"""ncnn: phones and boards with ARM CPUs. Int8 weights and blobs, symmetric; what isn't a layer is in float.

`writer` walks a graph, `layers` and `operators` say how each node is written, `model_files` are the two files.
"""

from bitface.targets.base import Holds, Target
from bitface.targets.ncnn.emit import emit
from bitface.targets.ncnn.engine import start
from bitface.targets.ncnn.simulation import simulate
from bitface.targets.ncnn.usage import usage
from bitface.targets.registry import TARGETS

TARGETS.register("ncnn")(
    Target(
        title="ncnn",
        holds=Holds(unsigned=False, zero_points=False, weight_zero_points=False, fewer_bits=False, sums=False),
        rounds="A layer rounds its input itself, half away from zero and to ±127; additions and all other operators "
        "read floats, and so do convolutions of groups of several channels.",
        emit=emit,
        start=start,
        package="ncnn",
        imports="ncnn",
        extra="ncnn",
        simulate=simulate,
        usage=usage,
    )
)
