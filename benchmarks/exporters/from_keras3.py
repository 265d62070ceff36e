"""Files of Keras 3 on its torch backend (`model.export(format="onnx")`): NHWC around torch's own exporter.

    python benchmarks/exporters/from_keras3.py FOLDER [--only NAME]

Runs in the environment of torch (`exporters/requirements-torch.txt`, which lists keras).
"""

import argparse
import os
import sys
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras

from exporters import keras_families

NAMES = (
    "mobilefacenet_prelu",
    "mobilefacenet_relu6",
    "resnet_se",
    "ghostfacenet",
    "facenet",
    "vit",
    "convnext",
    "separable",
    "mobilenet_hswish",
    "deepid",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for name in NAMES:
        path = options.folder / "keras_3_torch" / f"{name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        if options.only not in name or path.exists():
            continue
        keras.utils.set_random_seed(zlib.crc32(name.encode()) % 2**31)
        failure = ""
        try:
            keras_families.make(name).export(path, format="onnx", verbose=False)
        except Exception as error:
            path.unlink(missing_ok=True)
            failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
        print(f"{'keras 3 torch':26s} {name:24s} {failure or 'ok'}", flush=True)


if __name__ == "__main__":
    main()
