"""What a target's folder says of itself is true of its files."""

import re
from pathlib import Path

import numpy as np
import pytest

from bitface.graph import Network
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import TARGETS
from bitface.targets.guide import guide
from bitface.targets.registry import every
from bitface.targets.start import start
from bitface.targets.write import write
from support.quantized import Mixed, faces, network


@pytest.fixture(scope="module")
def student() -> Network:
    net = network(Mixed(), 16, "bgr-127.5,120,110-127.5")
    return quantize(net, faces(16, 16), BitPlan(), Calibration("minmax", bias_correction=False))[0]


def test_the_input_in_numbers(student: Network) -> None:
    text = guide("onnxruntime", student)
    assert "One aligned face of 16 x 16 pixels as float32 `[1, 3, 16, 16]` (channels first)." in text
    assert "Channels: blue, green, red." in text
    assert "mean (127.5, 120, 110) and std 127.5; as a factor, 0.00784313725." in text
    assert "An embedding of 12 numbers" in text
    assert TARGETS["onnxruntime"].rounds is not None
    assert TARGETS["onnxruntime"].rounds in text


def test_its_lines_run(student: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("onnxruntime", student, {}, tmp_path / "net")
    code = re.findall(r"```python\n(.*?)```", (tmp_path / "net" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path / "net")
    assert student.preprocess is not None
    image = student.preprocess(faces(1, 16))
    names = {"image": image}
    for block in code:
        exec(block, names)
    np.testing.assert_array_equal(names["embedding"], start("onnxruntime", student)(image))


def test_a_file_beside_others_is_called_by_its_name(student: Network) -> None:
    assert '"model.openvino.onnx"' in guide("openvino", student, "model.openvino.onnx")


@pytest.mark.parametrize("name", [name for name, target in every().items() if target.emit])
def test_every_written_target_has_one(name: str, student: Network) -> None:
    text = guide(name, student)
    assert TARGETS[name].usage is not None
    assert "```" in text
    assert "{" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_a_folder_holds_the_file_and_its_guide(student: Network, tmp_path: Path) -> None:
    size = write("openvino", student, {}, tmp_path / "net")
    assert sorted(file.name for file in (tmp_path / "net").iterdir()) == ["README.md", "model.onnx"]
    assert size == (tmp_path / "net" / "model.onnx").stat().st_size
    write("openvino", student, {}, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").is_file()
