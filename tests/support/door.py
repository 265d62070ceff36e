"""What goes to a door without torch: an exported artifact with a threshold, and two crops."""

from pathlib import Path

from PIL import Image

from bitface.artifact import Artifact, write
from bitface.quant import BitPlan, Calibration, quantize
from bitface.runtime.model import Model
from support.quantized import Mixed, faces, network

THRESHOLD = {"far": 0.01, "threshold": 0.5, "engine": "onnxruntime"}


def write_door(folder: Path, c: bool = False) -> None:
    """Writes `model.bitface`, `door.onnx`, and where asked for the same as C, `as_c/`; crops `a.png` and `b.png`."""
    net = network(Mixed(), 16)
    student = quantize(net, faces(8, 16), BitPlan(), Calibration("minmax", bias_correction=False))[0]
    details = Artifact(student, BitPlan().to_json(), {"name": "mixed", "fingerprint": net.fingerprint()})
    details.thresholds.append(THRESHOLD)
    write(folder / "model.bitface", details)
    model = Model(folder / "model.bitface", "artifact", student, details=details)
    model.export("onnxruntime", folder / "door.onnx")
    if c:
        model.export("c", folder / "as_c")
    for name, face in zip("ab", faces(2, 16, seed=1), strict=True):
        Image.fromarray(face).save(folder / f"{name}.png")
