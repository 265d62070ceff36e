"""Up to which cost of a layer is it worth running it again to get its PReLU in integers? (ONNX Runtime)

    python benchmarks/onnxruntime_prelu.py

Times the same integer network with different limits (`onnx_prelu.SPLIT_UP_TO`), alternating in one run, beside the
fastest float graph: the PReLU MobileFaceNet from $BITFACE_DATA (or ../shared/data).
"""

from dataclasses import replace

import numpy as np
from lib.common import networks, save

from bitface.graph import load_network, onnx_prelu, passes
from bitface.quant import BitPlan, quantize
from bitface.runtime.bench import race
from bitface.targets import Settings
from bitface.targets.onnxruntime import start

LIMITS = (0, 16, 64, 128, 256, 10_000)


def main() -> None:
    path, preprocess = networks()["MobileFaceNet PReLU"]
    network = load_network(path, preprocess)
    assert network.preprocess is not None
    faces = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    student, _ = quantize(network, faces, BitPlan.parse("w8a8"))
    image = network.preprocess(faces[:1])
    fastest = replace(network, graph=passes.fold(network.graph))
    runners = {"float32": start(fastest, Settings(threads=1))}
    for limit in LIMITS:
        onnx_prelu.SPLIT_UP_TO = limit
        runners[f"int8, limit {limit}"] = start(student, Settings(threads=1))
    timings = race({name: (lambda run=run: run(image)) for name, run in runners.items()})
    medians = {name: float(np.median(values)) for name, values in timings.items()}
    save(
        "onnxruntime_prelu",
        [
            {"graph": name, "median_ms": median, "to float32": medians["float32"] / median}
            for name, median in medians.items()
        ],
    )


if __name__ == "__main__":
    main()
