"""How long each layer takes in OpenVINO, by its own counters."""

from collections.abc import Iterable

import numpy as np

from bitface.errors import BitfaceError

_RUNS = 60
# What OpenVINO calls a layer whose bias it adds apart.
_SPLIT = "/WithoutBiases"


def layer_times(model: bytes, names: Iterable[str], threads: int = 1) -> tuple[dict[str, float], float]:
    """The mean milliseconds of each named layer with what the engine fused into it, and of everything else together.

    Args:
        model: an ONNX file's bytes, as `graph.to_onnx` writes it for OpenVINO; batch 1.

    Raises:
        BitfaceError: the engine's counters name none of the layers.
    """
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    network.reshape([1, *list(network.input(0).partial_shape)[1:]])
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    compiled = core.compile_model(network, "CPU", options)
    request = compiled.create_infer_request()
    image = np.random.default_rng(0).standard_normal(tuple(network.input(0).shape), dtype=np.float32)
    for _ in range(_RUNS):
        request.infer({0: image}, share_inputs=True)
    wanted, rest = dict.fromkeys(names, 0.0), 0.0
    for operator in compiled.get_runtime_model().get_ordered_ops():
        facts = operator.get_rt_info()
        took = str(_value(facts, "execTimeMcs"))
        if not took.isdigit():
            continue
        held = [name.removesuffix(_SPLIT) for name in str(_value(facts, "originalLayersNames")).split(",")]
        if owners := [name for name in held if name in wanted]:
            wanted[owners[0]] += int(took) / 1e3
        else:
            rest += int(took) / 1e3
    if not any(wanted.values()):
        raise BitfaceError("OpenVINO's counters name no layer of this network; use a budget of bytes or bits")
    return wanted, rest


def _value(facts: dict, key: str) -> object:
    found = facts[key] if key in facts else ""  # noqa: SIM401, OpenVINO's own mapping has no get
    return getattr(found, "value", found)
