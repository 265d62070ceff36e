"""What quantization costs in accuracy: three networks, calibrated on faces outside the LFW pairs, tested on LFW.

    python benchmarks/accuracy.py [--bits w8a8,w6a6,w4a8,w4a4s8] [--images 300] [--out out/accuracy]

Needs LFW and two networks in $BITFACE_DATA (or ../shared/data): `lfw/images`, `lfw/pairs.csv`,
`lfw/not_in_pairs.txt`, `models/*.onnx`. Float networks and integer ones both run in OpenVINO, single crop, no flip.
"""

import argparse
from pathlib import Path

from lib.common import LFW, evaluated, networks, save

from bitface.data.face_source import FaceSource
from bitface.graph import load_network
from bitface.graph.summary import summarise
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan
from bitface.results.quantization import agreed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", default="w8a8,w6a6,w4a8,w4a4s8")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("out/accuracy"))
    options = parser.parse_args()
    rows = []
    for name, (path, preprocess) in networks().items():
        size = summarise(load_network(path)).weight_bytes
        rows.append({"network": name, "bits": "float32", **evaluated(path, preprocess), "float bytes": size})
        print(rows[-1], flush=True)
        for bits in options.bits.split(","):
            folder = options.out / path.stem / bits
            result = quantize_model(
                QuantizeRequest(
                    path,
                    FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", options.images),
                    folder,
                    BitPlan.parse(bits),
                    preprocess=preprocess,
                    data_kind="real",
                    force=True,
                )
            )
            figures = agreed(result)[1]
            rows.append(
                {
                    "network": name,
                    "bits": bits,
                    **evaluated(folder / "model.bitface", None),
                    "cosine mean": figures["mean"],
                    "cosine minimum": figures["minimum"],
                    "bytes": result["bytes"]["model.bitface"],
                    "seconds": round(sum(result["seconds"].values()), 1),
                }
            )
            print(rows[-1], flush=True)
        # After each network, so that an interrupted run keeps what it has.
        save("accuracy", rows, images=options.images, test="LFW View 2; TAR over all pairs of its 7,701 images")


if __name__ == "__main__":
    main()
