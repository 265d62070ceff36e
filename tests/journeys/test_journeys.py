"""The twelve ways in, each by the commands of its guide, from the wheel: what is there at the end to look at."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from bitface.data.synthetic import make_faces
from journeys.conftest import Reader
from support.documents import ROOT
from support.packed_sets import crops, jpeg, write_rec

pytestmark = [pytest.mark.slow, pytest.mark.journeys]


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def page(path: Path) -> str:
    """A report, which is whole and fetches nothing."""
    text = path.read_text()
    assert text.rstrip().endswith("</html>")
    assert "<h1" in text
    return text


def test_the_program_is_that_of_the_wheel(reader: Reader, programs: Path) -> None:
    where = reader.runs(["python", "-c", "import bitface, torch; print(bitface.__file__)"]).strip()
    assert Path(where).is_relative_to(programs.parent)
    assert reader.runs(["which", "bitface"]).strip() == str(programs / "bitface")
    assert reader.runs(["bitface", "--version"]).startswith("bitface ")


def test_every_guide_is_a_journey() -> None:
    guides = {path.name for path in (ROOT / "docs" / "guides").glob("*.md")} - {"README.md"}
    text = Path(__file__).read_text()
    assert [name for name in sorted(guides) if f'"{name}"' not in text] == []
    assert len(guides) == 12


def test_a_network_from_a_zoo_on_a_mini_pc(reader: Reader) -> None:
    said = reader.follows("mini-pc.md")
    out = reader.folder / "out"
    assert "rgb-127.5-128" in said
    assert (out / "model.openvino.onnx").stat().st_size > 0
    assert "float" in page(out / "report.html")
    page(out / "all.html")
    assert {"f32", "bf16", "int8"} >= {row["precision"] for row in content(out / "bench.json")["rows"]} >= {"int8"}
    assert content(out / "evaluation.json")["kind"] == "evaluation"
    assert -1 <= float(reader.said[-1]) <= 1


@pytest.mark.assets
@pytest.mark.usefixtures("assets")
def test_no_right_to_use_any_real_face(reader: Reader) -> None:
    said = reader.follows("no-faces.md", every=True, instead={"--images none": "--images none:16"})
    assert "people who don't exist" in said or "synthetic" in said
    assert (reader.folder / "model.bitface").stat().st_size > 0
    page(reader.folder / "distilled" / "report.html")


def test_500_kb_of_flash(reader: Reader) -> None:
    (reader.folder / "crops").mkdir()
    for number, image in enumerate(crops(200)):
        Image.fromarray(image).save(reader.folder / "crops" / f"{number:03}.png")
    # Plans of so small a network are named by hundredths of a KB.
    shorter = {"--method qat": "--method qat --epochs 1", "plan-0500KB": "plan-500.00KB"}
    reader.follows("budget.md", every=True, instead=shorter, own=("crops",))
    folder = reader.folder
    searched = page(folder / "search" / "report.html")
    assert "What a budget buys" in searched
    assert "taken for 500KB" in searched
    assert yaml.safe_load((folder / "search" / "plan-500.00KB.yaml").read_text())
    assert (folder / "out" / "model.bitface").stat().st_size < 500_000
    page(folder / "compared" / "comparison.html")
    memory = re.search(r"FACE_NET_SCRATCH (\d+)", (folder / "lock" / "face_net.h").read_text())
    assert memory is not None
    assert int(memory[1]) <= 300_000
    assert list((folder / "lock").glob("*.c"))


def test_a_threshold_that_lets_strangers_in(reader: Reader) -> None:
    said = reader.follows("threshold.md")
    assert "the teacher's threshold for FAR 0.1" in said
    reader.runs(["bitface", "inspect", "out/model.bitface", "--json", "facts.json"])
    assert [one["far"] for one in content(reader.folder / "facts.json")["thresholds"]] == [0.1]
    assert reader.said[-2].startswith(("same:", "different:"))


def test_two_million_vectors_enrolled(reader: Reader) -> None:
    mine = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    np.save(reader.folder / "mine.npy", mine)
    (reader.folder / "ids.csv").write_text("id\n" + "".join(f"person {number}\n" for number in range(5)))
    said = reader.follows("galleries.md", every=True)
    assert "gallery" in said
    assert (reader.folder / "gallery.safetensors").stat().st_size > 0


def test_an_accuracy_that_collapsed(reader: Reader) -> None:
    said = reader.follows("collapsed.md", every=True)
    assert "next" in page(reader.folder / "analysis" / "analysis.html").lower()
    assert (reader.folder / "sensitivity").is_dir()
    assert said


def test_a_table_for_a_paper(reader: Reader) -> None:
    images = crops(128)
    write_rec(reader.folder / "ms1mv2", [jpeg(one) for one in images], [number // 4 for number in range(128)])
    said = reader.follows(
        "research.md",
        every=True,
        instead={
            "--nproc_per_node 8": "--nproc_per_node 1",
            "--seeds 0,1,2": "--seeds 0,1 --epochs 1",
            "loss=Mine())": "loss=Mine(), epochs=1)",
        },
    )
    for name in ("rcm", "ekd"):
        assert "±" in (reader.folder / name / "seeds.md").read_text()
        assert "tabular" in (reader.folder / name / "seeds.tex").read_text()
    assert "tabular" in (reader.folder / "results" / "results.tex").read_text()
    assert said


def test_devices(reader: Reader) -> None:
    said = reader.follows("devices.md")
    out = reader.folder / "out"
    assert list((out / "model.ncnn").glob("*.param"))
    assert (out / "model.litert.tflite").stat().st_size > 0
    assert "ncnn" in (out / "README.md").read_text()
    assert list((reader.folder / "lock").glob("*.c"))
    assert list((reader.folder / "onnx").glob("*.onnx"))
    assert said


def test_a_server_that_answers_many_at_once(reader: Reader) -> None:
    reader.follows("server.md")  # its own lines say whether the answers are right


def test_a_laptop_that_is_eight_years_old(reader: Reader) -> None:
    said = reader.follows("old-cpu.md")
    assert "computed in" in said
    page(reader.folder / "w7" / "report.html")


@pytest.mark.assets
@pytest.mark.usefixtures("assets")
def test_photographs(reader: Reader) -> None:
    for number, face in enumerate(make_faces(60, seed=3).images):
        photograph = Image.new("RGB", (400, 300), (128, 128, 128))
        photograph.paste(Image.fromarray(face), (140, 90))
        person = reader.folder / "photographs" / f"{number:02}"
        person.mkdir(parents=True)
        photograph.save(person / "1.jpg", quality=95)
        photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(person / "2.jpg", quality=95)
    Image.new("RGB", (400, 300), (128, 128, 128)).save(reader.folder / "photographs" / "wall.jpg")
    for name, number in (("a", 1), ("b", 2)):
        shutil.copy(reader.folder / "photographs" / "03" / f"{number}.jpg", reader.folder / f"{name}.jpg")
    reader.follows("photographs.md", every=True, instead={"bitface try": ""}, own=("crops", "a.jpg", "b.jpg"))
    folder = reader.folder
    assert Image.open(folder / "crops.sheet.png").size[0] > 112
    assert (folder / "crops" / "faces.csv").read_text().count("\n") > 60
    assert "wall.jpg" in (folder / "crops" / "skipped.csv").read_text()
    vectors = np.load(folder / "vectors.npy")
    assert np.isfinite(vectors).all()
    assert (folder / "vectors.list.csv").read_text().count("\n") == len(vectors) + 1
    _tries(reader)


def _tries(reader: Reader) -> None:
    """`bitface try` serves its page until it is stopped."""
    command = ["/usr/bin/env", "bitface", "try", "out/model.bitface", "--float", "net.onnx"]
    with subprocess.Popen(
        command, cwd=reader.folder, env=reader.environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            url = next(line.split()[0] for line in server.stdout if line.startswith("http://"))
            with urllib.request.urlopen(url) as answer:
                assert "<html" in answer.read().decode()
        finally:
            os.kill(server.pid, signal.SIGINT)
        assert server.wait() == 0


def test_a_network_that_was_changed(reader: Reader) -> None:
    reader.follows("before-and-after.md", every=True)
    changes = page(reader.folder / "changes.html")
    assert "before" in changes
    assert "after" in changes
    page(reader.folder / "both.html")
