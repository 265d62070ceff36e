"""Photographs instead of crops: aligned, embedded, compared, by the face that is meant; and videos of them."""

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bitface import load, signals
from bitface.data.align import FaceAligner
from bitface.data.images import read_image
from bitface.data.synthetic import make_faces
from bitface.jobs.people.camera import CameraRequest, verify_camera

from .conftest import Run
from .test_bad_input import ends_in_one_line

pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def photographs(asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: of `ann` two photographs, of `bob` one; `both.png` shows them, bob larger and to the right; and a wall,
    and a file that is no image."""
    asset("yunet")
    asset("dcgan")
    ann, bob = (Image.fromarray(face) for face in make_faces(2, seed=3).images)
    folder = tmp_path_factory.mktemp("photographs")

    def save(name: str, *faces: tuple[Image.Image, int, tuple[int, int]]) -> None:
        photo = Image.new("RGB", (800, 600), (128, 128, 128))
        for face, side, place in faces:
            photo.paste(face.resize((side, side)), place)
        (folder / name).parent.mkdir(exist_ok=True)
        photo.save(folder / name)

    save("ann/1.png", (ann, 224, (200, 250)))
    save("ann/2.png", (ann, 180, (420, 80)))
    save("bob/1.jpg", (bob, 224, (200, 250)))
    save("both.png", (ann, 112, (30, 20)), (bob, 224, (200, 250)))
    save("wall.png")
    (folder / "text.png").write_text("no image")
    return folder


@pytest.fixture
def model(quantized: Path, crops: Path, tmp_path: Path, bitface: Run) -> Path:
    """An artifact with a threshold at FAR 0.05."""
    path = tmp_path / "model.bitface"
    path.write_bytes((quantized / "model.bitface").read_bytes())
    assert bitface("calibrate", path, "--images", crops, "--far", "0.05")[0] == 0
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_photographs_become_crops(
    bitface: Run, photographs: Path, asset: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "crops"
    code, said, err = bitface("align", photographs, "--out", out, "--json", tmp_path / "a.json")
    assert code == 0, err
    assert "4 crops of 6 photographs, 2 of them skipped, 1 with several faces" in said
    assert "warning: 2 of 6 photographs give no crop, the first: text.png: not an image" in err
    assert "--face all takes each" in err
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "ann/1.png", "ann/2.png", "bob/1.png", "both.png",
    ]  # fmt: skip
    assert [row["path"] for row in rows_of(out / "skipped.csv")] == ["text.png", "wall.png"]
    aligner = FaceAligner(asset("yunet"))
    for row in rows_of(out / "faces.csv"):
        face = aligner.align(read_image(photographs / row["photograph"]))
        assert face is not None
        np.testing.assert_array_equal(read_image(out / row["crop"]), face.crop)
        assert [int(row[key]) for key in ("x", "y", "width", "height")] == list(face.box)
        assert float(row["nose_x"]) == pytest.approx(face.landmarks[2, 0], abs=0.01)
    assert Image.open(tmp_path / "crops.sheet.png").width == 4 * 114 - 2
    answer = json.loads((tmp_path / "a.json").read_text())
    assert (answer["crops"], answer["several"], len(answer["skipped"])) == (4, 1, 2)
    ends_in_one_line(bitface("align", photographs, "--out", out), 1, "isn't an empty folder")


def test_every_face_of_a_group(bitface: Run, photographs: Path, tmp_path: Path) -> None:
    code, _, err = bitface("align", photographs / "both.png", "--face", "all", "--out", tmp_path / "all")
    assert code == 0, err
    rows = rows_of(tmp_path / "all" / "faces.csv")
    assert [(row["crop"], row["faces"], row["number"]) for row in rows] == [
        ("both.1.png", "2", "1"),
        ("both.2.png", "2", "2"),
    ]
    assert int(rows[0]["x"]) < int(rows[1]["x"])
    ends_in_one_line(bitface("align", photographs / "wall.png", "--out", tmp_path / "b"), 1, "no face is found")
    assert not (tmp_path / "b").exists()
    ends_in_one_line(bitface("align", photographs, "--face", "first", "--out", tmp_path / "b"), 2, "--face takes")


def test_crops_of_another_size(bitface: Run, photographs: Path, tmp_path: Path) -> None:
    for size, shape in (("112x96", (112, 96, 3)), ("160", (160, 160, 3))):
        code, _, err = bitface("align", photographs / "ann", "--size", size, "--out", tmp_path / size)
        assert code == 0, err
        assert {read_image(tmp_path / size / f"{name}.png").shape for name in "12"} == {shape}


def test_photographs_of_one_name(bitface: Run, photographs: Path, tmp_path: Path) -> None:
    for suffix in ("png", "bmp"):
        Image.open(photographs / "ann" / "1.png").save(tmp_path / f"a.{suffix}")
    outcome = bitface("align", tmp_path / "a.png", tmp_path / "a.bmp", "--out", tmp_path / "out")
    ends_in_one_line(outcome, 1, "would both be a.png")
    assert not (tmp_path / "out").exists()


def test_photographs_are_embedded(bitface: Run, model: Path, photographs: Path, tmp_path: Path) -> None:
    assert bitface("align", photographs, "--out", tmp_path / "crops")[0] == 0
    out = tmp_path / "vectors.npy"
    code, _, err = bitface("embed", photographs, "--face", "largest", "--model", model, "--out", out)
    assert code == 0, err
    assert "1 photographs show several faces: the largest of each is embedded" in err
    rows = {row["path"]: row for row in rows_of(tmp_path / "vectors.list.csv")}
    values = np.load(out)
    for place, (path, row) in enumerate(rows.items()):
        if row["reason"]:
            assert np.isnan(values[place]).all()
            continue
        crop = (tmp_path / "crops" / path).with_suffix(".png")
        np.testing.assert_array_equal(values[place], load(model).embed(crop)[0])
    assert {path for path, row in rows.items() if row["reason"]} == {"text.png", "wall.png"}
    code, _, err = bitface("embed", photographs, "--face", "all", "--model", model, "--out", tmp_path / "all.npy")
    assert code == 0, err
    named = [(row["path"], row["face"]) for row in rows_of(tmp_path / "all.list.csv")]
    assert [one for one in named if one[0] == "both.png"] == [("both.png", "1"), ("both.png", "2")]
    ends_in_one_line(bitface("embed", photographs, "--model", model, "--out", tmp_path / "b.npy"), 1, "--face largest")


def test_the_face_that_is_meant_is_compared(bitface: Run, model: Path, photographs: Path, tmp_path: Path) -> None:
    both, ann = photographs / "both.png", photographs / "ann" / "1.png"

    def similarity(*options: object) -> tuple[float, list[int]]:
        code, _, err = bitface(
            "verify", both, ann, "--model", model, "--far", 0.05, "--exit-zero", *options, "--json", tmp_path / "a.json"
        )
        assert code == 0, err
        answer = json.loads((tmp_path / "a.json").read_text())
        return answer["similarity"], [face["number"] for face in answer["faces"]]

    found = {word: similarity("--face", word) for word in ("1,largest", "2,largest", "all")}
    assert found["1,largest"][1] == [1, 1]
    assert found["2,largest"] == similarity()
    assert found["all"][0] == max(found["1,largest"][0], found["2,largest"][0])
    assert found["1,largest"][0] > found["2,largest"][0]
    outcome = bitface("verify", both, ann, "--model", model, "--far", 0.05, "--face", 3)
    ends_in_one_line(outcome, 3, "both.png: 2 faces are found, so there is no face 3")


def test_everybody_on_a_photograph_is_identified(bitface: Run, model: Path, photographs: Path, tmp_path: Path) -> None:
    crops, gallery = tmp_path / "crops", tmp_path / "gallery.safetensors"
    assert bitface("align", photographs / "ann", photographs / "bob", "--out", tmp_path / "x")[0] == 1  # both have a 1
    for person in ("ann", "bob"):
        assert bitface("align", photographs / person, "--out", crops / person)[0] == 0
        (crops / f"{person}.sheet.png").unlink()
    assert bitface("enroll", model, "--images", crops, "--out", gallery)[0] == 0
    code, out, err = bitface(
        "identify", photographs / "both.png", "--gallery", gallery, "--model", model, "--face", "all", "--top", 1
    )
    assert code == 0, err
    said = [line.split(": ")[-1].split()[0] for line in out.splitlines()[:2]]
    assert said == ["ann", "bob"]
    assert "both.png, face 2: bob" in out


@pytest.fixture
def video(photographs: Path, tmp_path: Path) -> Path:
    """Ten frames of ann, then two of a wall."""
    path = tmp_path / "ann.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (800, 600))
    for name in ["ann/1.png"] * 10 + ["wall.png"] * 2:
        writer.write(cv2.imread(str(photographs / name)))
    writer.release()
    return path


def test_a_video_is_verified_with_the_decision_on_the_picture(
    bitface: Run, model: Path, photographs: Path, video: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.avi"
    command = ("verify", photographs / "ann" / "1.png", "--camera", video, "--model", model, "--far", 0.05)
    code, out, err = bitface(*command, "--out", drawn, "--json", tmp_path / "a.json")
    assert code == 0, err
    assert out.startswith("same in 10 of 10 frames: similarity ")
    answer = json.loads((tmp_path / "a.json").read_text())
    assert (answer["frames_seen"], answer["frames_judged"], len(answer["frames"])) == (12, 10, 10)
    assert answer["frames"][3]["second"] == pytest.approx(0.6)
    x, y, _, height = answer["frames"][0]["faces"][0]["box"]
    capture = cv2.VideoCapture(str(drawn))
    good, frame = capture.read()
    assert good
    edge = frame[y + height // 2, x - 1 : x + 2].astype(int).mean(0)
    assert edge[1] > edge[0] + 40  # a green frame
    assert edge[1] > edge[2] + 40
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 12
    code, out, _ = bitface(*command, "--seconds", 0.4)
    assert out.startswith("same in 2 of 2 frames")


def test_of_many_faces_in_a_frame_the_chances_are_said(
    bitface: Run, model: Path, photographs: Path, tmp_path: Path
) -> None:
    frames = cv2.VideoWriter(str(tmp_path / "both.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (800, 600))
    for _ in range(3):
        frames.write(cv2.imread(str(photographs / "both.png")))
    frames.release()
    command = (
        "verify",
        photographs / "ann" / "1.png",
        "--camera",
        tmp_path / "both.avi",
        "--model",
        model,
        "--far",
        0.05,
    )
    for face, said in (("all", True), ("largest", False)):
        code, _, err = bitface(*command, "--face", face)
        assert code in (0, 1), err
        assert ("the most similar of 2 pairs of faces decides" in " ".join(err.split())) == said


def test_ctrl_c_ends_the_looking_and_a_request_to_end_the_command(
    model: Path, photographs: Path, video: Path, tmp_path: Path
) -> None:
    """What was seen until Ctrl-C decides; a TERM ends it without an answer, and leaves no half of a video."""
    request = CameraRequest(photographs / "ann" / "1.png", str(video), model, 0.05, out=tmp_path / "drawn.avi")

    def until(number: int) -> Callable[..., None]:
        return lambda done, total, **_: os.kill(os.getpid(), number) if done == 3 else None

    with signals.listening():
        answer = verify_camera(request, lambda words: until(signal.SIGINT))
    assert (answer["frames_seen"], answer["same"]) == (3, True)
    (tmp_path / "drawn.avi").unlink()
    with signals.listening(), pytest.raises(KeyboardInterrupt):
        verify_camera(request, lambda words: until(signal.SIGTERM))
    assert {path.name for path in tmp_path.glob("*.avi")} == {"ann.avi"}


def test_what_is_no_camera(bitface: Run, model: Path, photographs: Path, tmp_path: Path) -> None:
    command = ("verify", photographs / "ann" / "1.png", "--model", model, "--far", 0.05)
    ends_in_one_line(bitface(*command, "--camera", tmp_path / "none.avi"), 3, "no such file")
    ends_in_one_line(
        bitface(*command, "--camera", photographs / "text.png"), 3, "text.png", "video that OpenCV can read"
    )
    ends_in_one_line(bitface(*command), 2, "or --camera")
    ends_in_one_line(bitface(*command, photographs / "bob" / "1.jpg", "--seconds", 3), 2, "for --camera")
