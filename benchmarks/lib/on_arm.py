"""What an arm64 Python runs under qemu, with numpy and ncnn alone.

python on_arm.py MODEL_FOLDER FACES.npy OUT.npy
"""

import sys

import ncnn
import numpy as np


def main(folder: str, faces: str, result: str) -> None:
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(f"{folder}/model.ncnn.param") == 0
    assert net.load_model(f"{folder}/model.ncnn.bin") == 0
    rows = []
    for face in np.load(faces):
        extractor = net.create_extractor()
        extractor.input("image", ncnn.Mat(np.ascontiguousarray(face)).clone())
        failed, embedding = extractor.extract("embedding")
        assert failed == 0
        rows.append(np.array(embedding))
    np.save(result, np.stack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
