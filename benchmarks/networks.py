"""Which networks of which exporters are read, whether they are computed right, and what is left of them in integers.

    python benchmarks/networks.py FOLDER [--only WORD] [--skip-integers] [--again] [--out out/networks]

FOLDER holds EXPORTER/FAMILY.onnx: networks with random weights that the scripts of `exporters/` write, each in the
environment of its exporter, and those of public packages (`exporters/from_packages.py`). Each file is run in ONNX
Runtime without optimizations, imported, and compared; then calibrated to w8a8 on 64 LFW faces, and 32 others are
embedded in both engines. Figures of integers are kept (`--out`) while the import gives the same network; `--again`
measures them again.
"""

import argparse
import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from lib.common import LFW, save
from lib.onnx_files import OWN, as_read, differing, raw, right
from PIL import Image

import bitface as bf
from bitface.graph.onnx_reader import from_onnx

EQUAL = 1e-4
"""Largest difference, as a share of the largest value. A file that rounds its activations (integers, 16 bits) answers a
change of its last digit by more than that in ONNX Runtime itself; there as much is allowed as that."""
CALIBRATION, EMBEDDED = 64, 32
REAL = "package"
# One form of each exporter goes on to integers: the others hold the same networks.
TO_INTEGERS = (
    "torch_legacy",
    "tf2onnx",
    "keras_3_torch",
    "mxnet_1.9",
    "paddle",
    "package_onnx",
    "package_tfjs",
    "package_tflite",
)
# Of real networks that weren't trained on (pixel - 127.5) / 127.5.
PREPROCESS = {"faceplugin_mobilefacenet": "rgb-127.5-128", "expo_mobilefacenet": "rgb-127.5-128"}


def imported(path: Path, row: dict[str, Any]) -> None:
    """Adds how far the imported graph is from ONNX Runtime, or why there is none."""
    try:
        x, outputs, own = right(path)
    except Exception as error:
        row["invalid"] = str(error).replace(str(path), path.name)[:300]
        return
    try:
        graph = from_onnx(path)[0]
    except bf.BitfaceError as error:
        row["reason"] = str(error).removeprefix(f"{path}: ")[:300]
        return
    with torch.no_grad():
        y = np.asarray(graph(torch.from_numpy(as_read(x))))
    expected = [array for array in outputs.values() if array.size == y.size]
    if not expected:
        row["reason"] = f"gives {list(y.shape)}, ONNX Runtime {[list(array.shape) for array in outputs.values()]}"
        return
    row["difference"] = min(differing(y, array.reshape(y.shape)) for array in expected)
    row["equal"] = row["difference"] <= max(EQUAL, own * (1 + EQUAL))
    if own:
        row[OWN] = own


def crops(size: tuple[int, int]) -> np.ndarray:
    """LFW faces outside the pairs at the network's size, uint8 RGB."""
    names = (LFW / "not_in_pairs.txt").read_text(encoding="utf-8").split()[::43][: CALIBRATION + EMBEDDED]
    faces = [
        Image.open(LFW / "images" / name).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR) for name in names
    ]
    return np.stack([np.asarray(face) for face in faces])


def integers(path: Path, before: dict[str, Any], program: str) -> dict[str, Any]:
    """Mean cosines of w8a8 in both engines to the float network, and of embeddings less their mean; those of `before`
    where the network is the same.
    """
    network = bf.load_network(path, PREPROCESS.get(path.stem, ordinary(path)))
    if before.get("fingerprint") == network.fingerprint():
        return before
    row: dict[str, Any] = {"fingerprint": network.fingerprint(), "program": program}
    faces = crops(network.size)
    student = bf.quantize(network, faces[:CALIBRATION], "w8a8")
    expected = bf.load(network, "onnxruntime", 1).embed(faces[CALIBRATION:])
    for engine in ("openvino", "onnxruntime"):
        given = bf.load(student, engine, 1).embed(faces[CALIBRATION:])
        row[engine] = cosine(given, expected)
        row[f"{engine} centred"] = cosine(given - expected.mean(0), expected - expected.mean(0))
    return row


def ordinary(path: Path) -> str:
    """The preprocessing of a network with random weights."""
    colour = "grey" if onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value == 1 else "rgb"
    return f"{colour}-{'raw' if raw(path) else '127.5-127.5'}"


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / lengths).mean())


def measured(path: Path, before: dict[str, Any], program: str, integer: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"family": path.stem, "exporter": path.parent.name.replace("_", " ")}
    row["weights"] = "real" if path.parent.name.startswith(REAL) else "random"
    try:
        model = onnx.load(path, load_external_data=False)
        row["opset"] = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        imported(path, row)
        if integer and row.get("equal") and path.parent.name in TO_INTEGERS:
            row["w8a8"] = integers(path, before.get("w8a8", {}), program)
    except bf.BitfaceError as error:
        row["w8a8"] = {"reason": str(error).removeprefix(f"{path}: ")[:300]}
    except Exception as error:  # a crash is a row, too
        row["crash"] = f"{type(error).__name__}: {str(error)[:300]}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="Files whose path has this word.")
    parser.add_argument("--skip-integers", action="store_true")
    parser.add_argument("--again", action="store_true", help="Measure integers again.")
    parser.add_argument("--out", type=Path, default=Path("out/networks"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    program = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", "src"],
        cwd=Path(bf.__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    kept = options.out / "rows.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    before: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else {}
    rows = dict(before)
    for path in sorted(options.folder.glob("*/*.onnx")):
        key = f"{path.parent.name}/{path.stem}"
        if options.only in key:
            rows[key] = measured(path, {} if options.again else before.get(key, {}), program, not options.skip_integers)
            print(
                key,
                {name: value for name, value in rows[key].items() if name not in ("family", "exporter")},
                flush=True,
            )
            kept.write_text(json.dumps(rows))
    if not options.only and not options.skip_integers:
        save("networks", list(rows.values()), program=program)


if __name__ == "__main__":
    main()
