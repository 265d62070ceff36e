"""Some of the damaged files of `benchmarks/mutations.py`: each is read or refused in a line, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.onnx_models import Model, finished, small_network

ROOT = Path(__file__).parents[2]


def constants() -> Model:
    """Constants of all kinds before the image meets them."""
    model = Model()
    shape = model.add("Shape", "image")
    rest = model.add("Slice", shape, model.ints(1), model.ints(4), model.ints(0))
    zeros = model.add("ConstantOfShape", model.add("Concat", model.ints(1), rest, axis=0))
    line = model.add("Range", *(model.constant(value, np.int64) for value in (0, 6, 1)))
    line = model.add("Cast", model.add("Unsqueeze", line, model.ints(0)), to=1)
    tiled = model.add("Tile", model.add("Expand", line, model.ints(4, 6)), model.ints(2, 1))
    padded = model.add("Pad", model.floats(3, 6, 4), model.ints(0, 1, 1, 0, 1, 1))
    x = model.add("Add", model.add("Mul", model.add("Add", "image", zeros), tiled), padded)
    x = model.add("Flatten", model.add("Relu", model.add("Conv", x, model.floats(4, 3, 3, 3), pads=[1, 1, 1, 1])))
    model.add("Gemm", x, model.floats(4 * 48, 5))
    return model


@pytest.mark.skipif(not hasattr(os, "fork"), reason="reads in copies of a process")
@pytest.mark.slow
def test_damaged_files(tmp_path: Path) -> None:
    """In a process of its own, as one with threads can't be copied safely."""
    for name, model in (("small", small_network()), ("constants", constants())):
        (tmp_path / f"{name}.onnx").write_bytes(finished(model).SerializeToString())
    script: list[str | Path] = [sys.executable, ROOT / "benchmarks" / "mutations.py"]
    paths: list[str | Path] = [
        "--files",
        "100",
        "--processes",
        "1",
        "--networks",
        tmp_path,
        "--out",
        tmp_path / "out.json",
        "--keep",
        tmp_path / "kept",
    ]
    subprocess.run([*script, *paths], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert result["wrong"] == []
    total = result["rows"][-1]
    assert total["read"] + total["refused"] == 100
    assert total["read"] > 5
