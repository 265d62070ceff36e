"""Galleries from the command line: enrolled, searched, and kept from other models' probes."""

import json
import shlex
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface import artifact, load
from bitface.data.face_source import FaceSource
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.gallery_file import read_gallery
from bitface.evaluation.keys import read_key
from bitface.jobs.people.enroll import EnrollRequest, enroll
from bitface.jobs.people.gallery import GalleryRequest, change_gallery
from bitface.progress import Progress

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gallery(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> Path:
    path = tmp_path / "gallery.safetensors"
    code, out, err = bitface("enroll", quantized / "model.bitface", "--images", crops, "--out", path)
    assert code == 0, err
    assert "48 images of 12 people, float32" in out
    return path


@pytest.mark.parametrize("int8", [False, True])
def test_people_are_found(
    bitface: Run, quantized: Path, gallery: Path, crops: Path, tmp_path: Path, int8: bool
) -> None:
    model = quantized / "model.bitface"
    if int8:
        before = gallery.stat().st_size
        assert bitface("enroll", model, "--images", crops, "--out", gallery, "--int8")[0] == 0
        assert gallery.stat().st_size < before - 48 * 32 * 2
    probe = crops / "p3" / "1.png"
    code, out, err = bitface(
        "identify", probe, "--gallery", gallery, "--model", model, "--top", "3", "--json", tmp_path / "a.json"
    )
    assert code == 0, err
    (answer,) = json.loads((tmp_path / "a.json").read_text())
    files = sorted(crops.glob("*/*.png"))
    rows = load(model).embed([str(path) for path in files])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = unit @ unit[files.index(probe)]
    best: dict[str, float] = {}
    for at in np.argsort(-scores, kind="stable"):
        best.setdefault(files[at].parent.name, float(scores[at]))
    assert [one["id"] for one in answer["people"]] == list(best)[:3]
    assert [one["similarity"] for one in answer["people"]] == pytest.approx(list(best.values())[:3], abs=0.01)
    assert out.startswith(f"{probe}: p3 ")


def test_other_models_are_kept_out(bitface: Run, net: Path, quantized: Path, gallery: Path, crops: Path) -> None:
    probe = crops / "p3" / "1.png"
    command = ["identify", probe, "--gallery", gallery, "--model", net, "--preprocess", "rgb-127.5-128"]
    code, out, err = bitface(*command)
    assert (code, out) == (2, "")
    assert "the gallery was enrolled by model" in err
    assert "--allow-mixed" in err
    code, out, _ = bitface(*command, "--allow-mixed")
    assert code == 0
    assert ": p3 " in out


def test_strangers_are_nobody(bitface: Run, quantized: Path, gallery: Path, crops: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.bitface"
    model.write_bytes((quantized / "model.bitface").read_bytes())
    code, _, err = bitface("identify", crops / "p3" / "1.png", "--gallery", gallery, "--model", model, "--far", "0.05")
    assert code == 1
    assert "no threshold for FAR 0.05 is stored" in err
    assert bitface("calibrate", model, "--images", crops, "--far", "0.05")[0] == 0
    least = artifact.read(model).thresholds[0]["threshold"]
    named = []
    for options in ([], ["--far", "0.05"]):
        code, _, err = bitface(
            "identify", *crops.glob("p*/2.png"), "--gallery", gallery, "--model", model, "--top", "12", *options,
            "--json", tmp_path / "a.json",
        )  # fmt: skip
        assert code == 0, err
        named.append([answer["people"] for answer in json.loads((tmp_path / "a.json").read_text())])
    assert named[1] == [[one for one in people if one["similarity"] >= least] for people in named[0]]
    assert sum(map(len, named[1])) < sum(map(len, named[0]))
    assert "compared with all 48 images" in " ".join(err.split())


def test_answers_without_a_threshold_say_so(
    bitface: Run, net: Path, quantized: Path, gallery: Path, crops: Path, tmp_path: Path
) -> None:
    model, probes = tmp_path / "model.bitface", [tmp_path / "p3.png", crops / "p4" / "0.png"]
    model.write_bytes((quantized / "model.bitface").read_bytes())
    # Of two people, so that nobody is as similar as they are to themselves.
    first, second = (Image.open(crops / who / "1.png") for who in ("p3", "p5"))
    Image.blend(first, second, 0.4).save(probes[0])
    command = ["identify", *probes, "--gallery", gallery, "--model", model, "--json", tmp_path / "a.json"]

    def answered(*options: object) -> tuple[list[dict[str, Any]], str]:
        code, _, err = bitface(*command, *options)
        assert code == 0, err
        answers = json.loads((tmp_path / "a.json").read_text())
        for answer in answers:  # without what is said of the engine on CPUs where OpenVINO isn't exact
            answer["notes"] = [text for text in answer["notes"] if "saturate" not in text]
        return answers, err

    words = "no threshold was applied, so strangers are given a name, too; "
    answers, err = answered()
    for answer in answers:
        assert (answer["threshold"], answer["thresholds"], answer["face"]) == (None, [], None)
        assert answer["notes"][0].startswith(f"{words}find one (bitface calibrate {model} --images people/ --far 1e-4)")
    assert err.count(f"note: {words}") == 1

    details = artifact.read(model)
    facts = {"engine": answers[0]["engine"], "flip": False}
    first, best = (answers[0]["people"][0][key] for key in ("id", "similarity"))
    assert best < 0.98
    stored = [{"far": 0.01, "threshold": best - 0.01, **facts}, {"far": 0.001, "threshold": best + 0.01, **facts}]
    artifact.write(model, replace(details, thresholds=stored))
    answers, err = answered()
    assert f"note: {words}name nobody below one: bitface identify {probes[0]} ... --gallery {gallery} " in err
    assert f"--model {model} --far 0.01" in err
    assert [one["holds"] for one in answers[0]["thresholds"]] == [True, False]
    assert (
        f"note: {probes[0]}: {first} ({best:.4f}) would be named at FAR 0.01 (threshold {best - 0.01:.4f}) and "
        f"wouldn't be named at FAR 0.001 (threshold {best + 0.01:.4f})"
    ) in err
    answers, err = answered("--far", "0.001")
    assert "no threshold was applied" not in err
    assert answers[0]["threshold"] == {"far": 0.001, "threshold": best + 0.01}
    assert (answers[0]["people"], answers[0]["thresholds"], answers[0]["notes"]) == ([], [], [])

    artifact.write(model, replace(details, thresholds=[{**stored[0], "flip": True}]))
    _, err = answered("--far", "0.01")
    assert "note: the thresholds were found with mirrored images added, the gallery was made without" in err

    code, _, err = bitface(
        "identify", probes[0], "--gallery", gallery, "--model", net, "--preprocess", "rgb-127.5-128", "--allow-mixed"
    )
    assert code == 0
    assert "only a .bitface file keeps some" in err


def test_damaged_galleries(bitface: Run, quantized: Path, gallery: Path, crops: Path) -> None:
    gallery.write_bytes(gallery.read_bytes()[:-5])
    code, out, err = bitface(
        "identify", crops / "p3" / "1.png", "--gallery", gallery, "--model", quantized / "model.bitface"
    )
    assert (code, out) == (1, "")
    assert "gallery.safetensors" in err
    assert err.count("\n") == 1


def test_an_encrypted_gallery_from_key_to_deletion(
    bitface: Run, quantized: Path, gallery: Path, crops: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    model, key, probe = quantized / "model.bitface", tmp_path / "a.key", crops / "p3" / "1.png"
    assert bitface("key", key)[0] == 0
    secret = tmp_path / "secret"
    code, out, err = bitface("enroll", model, "--images", crops, "--out", secret, "--key-file", key, "--renewable")
    assert code == 0, err
    assert "48 images of 12 people, float32, encrypted, renewable" in out

    def scores(*command: object) -> dict[str, float]:
        code, _, err = bitface("identify", probe, "--model", model, "--json", tmp_path / "a.json", *command)
        assert code == 0, err
        return {one["id"]: one["similarity"] for one in json.loads((tmp_path / "a.json").read_text())[0]["people"]}

    assert scores("--gallery", secret, "--key-file", key) == pytest.approx(scores("--gallery", gallery), abs=1e-6)
    code, _, err = bitface("identify", probe, "--gallery", secret, "--model", model)
    assert code == 2
    assert f"{secret}: is encrypted; name its key (--key-file FILE)" in err
    other = tmp_path / "b.key"
    bitface("key", other)
    code, _, err = bitface("gallery", secret, "--key-file", other)
    assert (code, err.count("\n")) == (1, 1)
    assert "the key is another one's, or the file was changed" in err

    before = secret.read_bytes()
    code, out, err = bitface(
        "gallery", secret, "--key-file", key, "--new-key-file", other, "--remove", "p3", "--json", tmp_path / "g.json"
    )
    assert code == 0, err
    assert "removed 1 people, 4 images" in out
    assert secret.read_bytes() != before
    facts = json.loads((tmp_path / "g.json").read_text())
    assert (facts["people"], facts["encrypted"], facts["renewable"], facts["warnings"]) == (11, True, True, [])
    found = scores("--gallery", secret, "--key-file", other, "--top", "12")
    assert len(found) == 11
    assert "p3" not in found
    key.chmod(0o644)
    assert (
        "others than its owner may read it"
        in bitface("key", key)[2]
        + bitface("enroll", model, "--images", crops, "--out", tmp_path / "third", "--key-file", key)[2]
    )


def test_people_leave_a_gallery_and_stay_away(
    bitface: Run, quantized: Path, gallery: Path, net: Path, crops: Path, tmp_path: Path
) -> None:
    code, _, err = bitface("gallery", gallery, "--remove", "p33")
    assert code == 2
    assert "'p33' isn't in the gallery; did you mean 'p3'?" in err
    code, out, err = bitface("gallery", gallery, "--remove", "p3", "--remove", "p11")
    assert code == 0, err
    assert "removed 2 people, 8 images" in out
    assert b"p11" not in gallery.read_bytes()
    # By another model, of the same folder: who was removed doesn't come back.
    command = ["enroll", net, "--preprocess", "rgb-127.5-128", "--images", crops, "--out", gallery, "--again"]
    code, out, err = bitface(*command)
    assert code == 0, err
    assert "40 images of 10 people" in out
    assert "8 images are of people who aren't in the gallery" in err
    bitface("identify", crops / "p4" / "1.png", "--gallery", gallery, "--model", net, "--preprocess", "rgb-127.5-128")
    few = tmp_path / "few"
    for name in ("p1", "p2"):
        (few / name).mkdir(parents=True)
        (few / name / "0.png").write_bytes((crops / name / "0.png").read_bytes())
    command[command.index(crops)] = few
    code, _, err = bitface(*command)
    assert code == 1
    assert "8 of its people have no image here, 'p0' the first; add theirs, or remove them first" in err


def test_failures_to_enrol_are_counted(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for name in ("p1", "p2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes((crops / name / "0.png").read_bytes())
    (folder / "p2" / "1.png").write_bytes(b"no image")
    (folder / "p9").mkdir()
    (folder / "p9" / "0.png").write_bytes(b"no image")
    command = ["enroll", quantized / "model.bitface", "--images", folder, "--out", tmp_path / "g.safetensors"]
    assert bitface(*command)[0] == 1
    code, out, err = bitface(*command, "--allow-skipped")
    assert code == 0, err
    assert "failures to enrol: 1 people, 2 images without an embedding" in out
    assert bitface(*command, "--allow-skipped", "--renewable")[0] == 2


def test_who_leaves_while_others_are_enrolled_again_stays_away(quantized: Path, gallery: Path, crops: Path) -> None:
    """Faces are embedded for minutes, and somebody is removed meanwhile."""
    removed: list[int] = []

    def steps(_: str) -> Progress:
        def tell(done: int, total: int, words: str = "") -> None:
            if not removed:
                removed.append(change_gallery(GalleryRequest(gallery, remove=("p4",)))["removed_images"])

        return tell

    request = EnrollRequest(quantized / "model.bitface", FaceSource([crops]), gallery, again=True)
    with pytest.raises(BitfaceError, match="another command wrote to it meanwhile"):
        enroll(request, steps)
    assert removed == [4]
    assert "p4" not in read_gallery(gallery).ids
    with pytest.raises(UsageError, match="keeps the form of the gallery"):
        enroll(replace(request, int8=True))


def test_people_of_one_folder_name_stay_apart(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    model, out = quantized / "model.bitface", tmp_path / "gallery.safetensors"
    for site, person in (("a", "p1"), ("b", "p2")):
        shutil.copytree(crops / person, tmp_path / "sites" / site / "0001")
    code, said, err = bitface("enroll", model, "--images", tmp_path / "sites", "--out", out)
    assert code == 0, err
    assert "8 images of 2 people" in said
    assert set(read_gallery(out).ids) == {"a/0001", "b/0001"}
    assert "such as a/0001 and b/0001: these count as different people" in err
    both = ("--images", tmp_path / "sites" / "a", "--images", tmp_path / "sites" / "b")
    code, said, err = bitface("enroll", model, *both, "--out", out)
    assert code == 0, err
    assert "8 images of 1 people" in said
    assert "'0001' the first: each counts as one" in err
    code, _, err = bitface(
        "calibrate", model, *both, "--images", crops, "--far", "0.1", "--out", tmp_path / "c.bitface"
    )
    assert code == 0, err
    assert "'0001' the first: each counts as one" in err


def test_accents_make_no_second_person(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    """A Mac writes them as two characters."""
    model, out = quantized / "model.bitface", tmp_path / "gallery.safetensors"
    composed, apart = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    shutil.copytree(crops / "p1", tmp_path / "people" / composed)
    shutil.copytree(crops / "p1", tmp_path / "people" / apart)
    shutil.copytree(crops / "p2", tmp_path / "people" / "Ada")
    assert bitface("enroll", model, "--images", tmp_path / "people", "--out", out)[0] == 0
    assert set(read_gallery(out).ids) == {composed, "Ada"}
    assert bitface("gallery", out, "--remove", apart)[0] == 0
    assert set(read_gallery(out).ids) == {"Ada"}


def test_next_commands_can_be_pasted(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    place = tmp_path / "O'Neil's faces"
    place.mkdir()
    gallery, key, face = place / "a gallery", place / "the key", place / "my face.png"
    shutil.copy(crops / "p1" / "0.png", face)
    shutil.copy(quantized / "model.bitface", place / "model.bitface")
    assert bitface("key", key)[0] == 0
    people = place / "people"
    shutil.copytree(crops / "p1", people / "O'Neil")
    shutil.copytree(crops / "p2", people / "Ada")
    secret = ("--key-file", key)
    assert bitface("enroll", place / "model.bitface", "--images", people, "--out", gallery, *secret)[0] == 0
    _, _, err = bitface("identify", face, "--gallery", gallery, "--model", place / "model.bitface", *secret)
    words = shlex.split(" ".join(err.split("then: ")[1].split()))
    assert words[:3] == ["bitface", "identify", str(face)]
    options = dict(zip(words[3::2], words[4::2], strict=False))
    assert (options["--gallery"], options["--key-file"]) == (str(gallery), str(key))
    shutil.rmtree(people / "O'Neil")
    _, _, err = bitface("enroll", place / "model.bitface", "--images", people, "--out", gallery, *secret, "--again")
    words = shlex.split(" ".join(err.split("remove them first (")[1].split()).rstrip(")"))
    assert words[0] == "bitface"
    assert bitface(*words[1:])[0] == 0
    assert read_gallery(gallery, read_key(key)).ids == ("Ada",) * 4
