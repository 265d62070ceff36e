"""Ten thousand faces through `bitface analyse`: bounded in memory, and on the page."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface.jobs.learning import write_network
from quant.small import Mixed, network
from report.test_page import Page

FACES, PEOPLE = 10_000, 2500


@pytest.mark.slow
def test_ten_thousand_faces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = tmp_path / "faces"
    people = rng.integers(0, 256, (PEOPLE, 16, 16, 3))
    for number in range(FACES):
        folder = faces / f"p{number % PEOPLE}"
        folder.mkdir(parents=True, exist_ok=True)
        image = people[number % PEOPLE] + rng.normal(0, 30, (16, 16, 3))
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / f"{number}.bmp")
    made = network(Mixed(), 16)
    write_network(tmp_path / "teacher.onnx", made)
    for name, value in made.graph.named_parameters():  # a student that is a bit off
        if name.endswith("weight"):
            value.data += 0.05 * value.data.std() * np.sign(value.data)
    write_network(tmp_path / "student.onnx", made)
    command = [sys.executable, "-m", "bitface", "analyse", tmp_path / "teacher.onnx", tmp_path / "student.onnx"]
    out = tmp_path / "out"
    done = subprocess.run(
        [*command, "--images", faces, "--labels", "folder", "--out", out, "--faces"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Kilobytes, the libraries' half a gigabyte among them.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_100_000
    assert (out / "analysis.html").stat().st_size < 2_000_000
    assert (out / "analysis.json").stat().st_size < 2_000_000
    content = json.loads((out / "analysis.json").read_text())
    text = Page((out / "analysis.html").read_text()).text()
    assert content["faces"]["used"] == FACES
    assert content["map"]["rows"] == 1000
    assert "the maps show 1,000 of 10,000 faces" in text
    assert "the angles between class centres are those of 2,000 of 2,500 classes" in text
    assert content["angles"]["inter-class"]["teacher"]["count"] == 2000 * 1999 // 2
    assert "occlusion" in {one["name"] for one in content["conditions"]}
