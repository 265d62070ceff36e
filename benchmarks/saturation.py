"""Which engine is exact on which CPU: integer networks in each engine beside their own simulation.

    python benchmarks/saturation.py [--out out/saturation]

Three networks calibrated on 300 faces outside the LFW pairs; 128 of the same list are embedded. On x86 CPUs without
VNNI, OpenVINO's sums of two products of 8 bits don't fit into their 16 bits. Where the CPU has VNNI, everything is
measured again with ONEDNN_MAX_CPU_ISA=AVX2, which makes OpenVINO do without (ONNX Runtime doesn't obey it). `default`
marks the engine that runs where nobody names one.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, networks, save

from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan
from bitface.runtime import Embedder, open_model
from bitface.runtime.exact import default_engine
from bitface.targets.exact import exact

PLANS = {
    "w8a8": {"bits": "w8a8"},
    "w7a8": {"bits": "w7a8", "first": "w7a8", "last": "w7a8"},
    "w4a4": {"bits": "w4a4"},
}
WITHOUT = "ONEDNN_MAX_CPU_ISA"


def made(name: str, plan: str, folder: Path) -> Path:
    """The artifact, made where it isn't there yet."""
    path, preprocess = networks()[name]
    out = folder / path.stem / plan
    if not (out / "model.bitface").is_file():
        quantize_model(
            QuantizeRequest(
                path,
                FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", 300),
                out,
                BitPlan.from_json(PLANS[plan]),
                preprocess,
            )
        )
    return out / "model.bitface"


def measure(folder: Path) -> list[dict[str, Any]]:
    """Every network and plan on this CPU."""
    names = (LFW / "not_in_pairs.txt").read_text(encoding="utf-8").split()
    files = [FaceFile(LFW / "images", name) for name in names[::43][:128]]
    rows = []
    for network in networks():
        for plan in PLANS:
            model = open_model(made(network, plan, folder))
            found = {name: Embedder(model, name).embed_files(files)[0] for name in ("torch", "openvino", "onnxruntime")}
            unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in found.items()}
            for engine in ("openvino", "onnxruntime"):
                cosines = (unit["torch"] * unit[engine]).sum(1)
                rows.append(
                    {
                        "network": network, "plan": plan, "engine": engine, "without": os.environ.get(WITHOUT, ""),
                        "default": default_engine(model) == engine,
                        "cosine to the simulation": float(cosines.mean()), "lowest": float(cosines.min()),
                    }
                )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/saturation"))
    parser.add_argument("--rows", action="store_true", help="Print the rows of this process as JSON.")
    options = parser.parse_args()
    rows = measure(options.out)
    if options.rows:
        print(json.dumps(rows))
        return
    if exact("openvino", 8):
        command = [sys.executable, __file__, "--rows", "--out", str(options.out)]
        done = subprocess.run(command, env={**os.environ, WITHOUT: "AVX2"}, capture_output=True, text=True, check=True)
        rows += json.loads(done.stdout)
    save("saturation", rows)


if __name__ == "__main__":
    main()
