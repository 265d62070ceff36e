"""What saturating sums cost: integer networks in both engines beside their own simulation, on the CPU at hand.

    python benchmarks/saturation.py [--out out/saturation]

The ReLU6 MobileFaceNet calibrated on 300 faces outside the LFW pairs; 128 of the same list are embedded. On x86 CPUs
without VNNI, OpenVINO's sums of two products of 8 bits don't fit into their 16 bits; elsewhere nothing happens.
"""

import argparse
from pathlib import Path

import numpy as np
from common import LFW, networks, save

from bitface.data.faces import FaceFile
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan
from bitface.runtime import Embedder, open_model

NETWORK = "MobileFaceNet ReLU6"
PLANS = {
    "w8a8": {"bits": "w8a8"},
    "w7a8, first and last too": {"bits": "w7a8", "first": "w7a8", "last": "w7a8"},
    "w4a4, first and last w8a8": {"bits": "w4a4"},
    "w4a4, first and last w7a8": {"bits": "w4a4", "first": "w7a8", "last": "w7a8"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/saturation"))
    options = parser.parse_args()
    path, preprocess = networks()[NETWORK]
    names = (LFW / "not_in_pairs.txt").read_text(encoding="utf-8").split()
    rows = []
    for plan, facts in PLANS.items():
        folder = options.out / plan.replace(", ", "-").replace(" ", "-")
        request = QuantizeRequest(
            path,
            [LFW / "images"],
            folder,
            BitPlan.from_json(facts),
            LFW / "not_in_pairs.txt",
            300,
            preprocess,
            force=True,
        )
        quantize_model(request)
        files = [FaceFile(LFW / "images", name) for name in names[::43][:128]]
        model = open_model(folder / "model.bitface")
        found = {name: Embedder(model, name).embed_files(files)[0] for name in ("torch", "openvino", "onnxruntime")}
        unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in found.items()}
        for engine in ("openvino", "onnxruntime"):
            cosines = (unit["torch"] * unit[engine]).sum(1)
            rows.append(
                {
                    "network": NETWORK, "plan": plan, "engine": engine,
                    "cosine to the simulation": float(cosines.mean()), "lowest": float(cosines.min()),
                }
            )  # fmt: skip
    save("saturation", rows)


if __name__ == "__main__":
    main()
