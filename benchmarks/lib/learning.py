"""Faces to learn from, a network that is ready for them, and what becomes of it without training."""

import tempfile
from pathlib import Path
from typing import Any

from bitface.data.face_source import FaceSource
from bitface.graph import Network
from bitface.inputs.faces import Faces, gather, load_teacher, settle_preprocess
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.progress import silent
from bitface.quant import BitPlan, Calibration
from bitface.results.quantization import agreed
from bitface.runtime.machine import describe
from lib.common import LFW, evaluated, networks


def network_and_faces(name: str, count: int | None, seed: int) -> tuple[Network, Faces]:
    """One of the measured networks, and LFW faces that are in no pair.

    Args:
        count: so many are learned from; None: all but those that are held out.
        seed: draws them.
    """
    path, preprocess = networks()[name]
    source = FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", count)
    network = load_teacher(path, source, preprocess)
    with tempfile.TemporaryDirectory() as folder:
        faces = gather(source, network.size, seed, Path(folder) / "skipped.csv", silent, network)
    return settle_preprocess(network, faces.learning, preprocess)[0], faces


def quantized(name: str, folder: Path, bits: str, calibration: Calibration, seed: int, count: int) -> dict[str, Any]:
    """What a network is worth that is quantized without training, from LFW faces that are in no pair.

    Args:
        folder: where it is written.
        seed, count: draws so many of the faces.
    """
    path, preprocess = networks()[name]
    result = quantize_model(
        QuantizeRequest(
            path, FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", count), folder, BitPlan.parse(bits),
            preprocess=preprocess, data_kind="real", seed=seed, targets=("openvino",), force=True,
            calibration=calibration.seeded(seed),
        )
    )  # fmt: skip
    artifact = folder / "model.bitface"
    return {
        **evaluated(artifact, None), "cosine mean": agreed(result)[1]["mean"],
        "bytes": result["bytes"][artifact.name], "cpu": describe()["cpu"],
    }  # fmt: skip
