"""Ten thousand faces through `bitface analyse`: bounded in memory, and on the page."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface.jobs.float_student import write_network
from report.test_page import Page
from support.quantized import Mixed, network

FACES, PEOPLE = 10_000, 2500
# Two hundred faces of a hundred people.
FEW = [*range(100), *range(PEOPLE, PEOPLE + 100)]
# Kilobytes. A matrix of all similarities in single precision takes 400,000, and there are two models.
MOST = 400_000
# What the process takes for ten thousand faces beyond what it takes for a few, the libraries and engines among it.
SCRIPT = """
import resource, sys
from pathlib import Path
from bitface.data.face_source import FaceSource
from bitface.jobs.analyse import AnalyseRequest, analyse_student
folder = Path(sys.argv[1])
taken = []
for out, listed in (("first", folder / "few.txt"), ("out", None)):
    analyse_student(AnalyseRequest(
        folder / "teacher.onnx", folder / "student.onnx",
        FaceSource([folder / "faces"], listed, labels="folder"), folder / out, faces=True
    ))
    taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(taken[1] - taken[0])
"""


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
            value.data += 0.05 * value.data.std() * value.data.sign()
    write_network(tmp_path / "student.onnx", made)
    (tmp_path / "few.txt").write_text("\n".join(f"p{number % PEOPLE}/{number}.bmp" for number in FEW))
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MOST
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
