import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.megaface import read_megaface
from bitface.evaluation.scores.similarity import unit_rows

Writer = Callable[[str, object], Path]

PHOTOS = {
    "path": [
        "Adam Brody/Adam Brody_261.png",
        "Adam Brody/Adam Brody_277.png",
        "A.J. Buckley/A.J. Buckley_1.png",
        "A.J. Buckley/A.J. Buckley_5.png",
        "Adam Brody/Adam Brody_300.png",
    ],
    "id": ["Adam Brody", "Adam Brody", "A.J. Buckley", "A.J. Buckley", "Adam Brody"],
}
DISTRACTORS = [f"{at:03d}/9001{at % 3}@N0{at % 2}/28898{at}_0.jpg" for at in range(25)]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def writer(name: str, content: object) -> Path:
        path = tmp_path / name
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


@pytest.fixture
def lists(write: Writer) -> tuple[Path, Path]:
    return (
        write("facescrub_features_list.json", PHOTOS),
        write("megaface_features_list.json_25_1", {"path": DISTRACTORS}),
    )


def test_lists_as_published(lists: tuple[Path, Path]) -> None:
    protocol = read_megaface(*lists)
    assert protocol.paths == (
        *(f"facescrub_images/{path}" for path in PHOTOS["path"]),
        *(f"megaface_images/{path}" for path in DISTRACTORS),
    )
    assert protocol.identities == tuple(PHOTOS["id"])
    assert (protocol.sizes, protocol.used) == ((10, 25), (10, 25))
    assert (protocol.dropped_photos, protocol.dropped_distractors, protocol.notes) == (0, 0, ())


def test_other_folders_sizes_and_numbered_people(write: Writer, lists: tuple[Path, Path]) -> None:
    numbered = write("fgnet_features_list.json", {"path": ["001A02.JPG", "001A05.JPG"], "id": [1, 1]})
    protocol = read_megaface(
        numbered, lists[1], probe_folder="", distractor_folder="MegaFace\\FlickrFinal2", sizes=(3, 7), ranks=(1, 10)
    )
    assert protocol.paths[:3] == ("001A02.JPG", "001A05.JPG", f"MegaFace/FlickrFinal2/{DISTRACTORS[0]}")
    assert protocol.identities == ("1", "1")
    assert (protocol.sizes, protocol.used, protocol.ranks) == ((3, 7), (3, 7), (1, 10))


def test_noise_is_left_out_and_counted(write: Writer, lists: tuple[Path, Path]) -> None:
    photos = write("facescrub_noises.txt", "# by name\nA.J._Buckley_5.jpg\n\nNobody_1.png\nAdam Brody_277\n")
    others = write(
        "megaface_noises.txt",
        f"# distractors\r\n{DISTRACTORS[2]}\r\n7\t{DISTRACTORS[4]}\n288989_0.jpg\nother/2889811_0.jpg\n"
        f"{DISTRACTORS[24]}",
    )
    protocol = read_megaface(*lists, probe_noise=photos, distractor_noise=others)
    assert protocol.identities == ("Adam Brody", "A.J. Buckley", "Adam Brody")
    assert [path.split("/")[-1] for path in protocol.paths[:3]] == [
        "Adam Brody_261.png",
        "A.J. Buckley_1.png",
        "Adam Brody_300.png",
    ]
    kept = [path for at, path in enumerate(DISTRACTORS) if at not in (2, 4, 9, 24)]
    assert protocol.paths[3:] == tuple(f"megaface_images/{path}" for path in kept)
    assert (protocol.sizes, protocol.used) == ((10, 25), (7, 21))
    assert (protocol.dropped_photos, protocol.dropped_distractors) == (2, 4)
    assert protocol.notes == ()


def test_a_list_of_noise_of_other_images_is_told(write: Writer, lists: tuple[Path, Path]) -> None:
    noise = write("facescrub_noises.txt", "Someone_1.png\nElse_2.png\n")
    empty = write("megaface_noises_empty.txt", "# nothing\n")
    protocol = read_megaface(*lists, probe_noise=noise, distractor_noise=empty)
    assert protocol.notes == ("none of the 2 images in facescrub_noises.txt is listed: nothing was left out as noise",)


def score(a: np.ndarray, b: np.ndarray) -> float:
    return max(-1.0, min(1.0, float(a @ b)))


@pytest.mark.parametrize("mixed", [False, True])
def test_scores_of_one_model_or_two(write: Writer, lists: tuple[Path, Path], mixed: bool, tmp_path: Path) -> None:
    noise = write("megaface_noises.txt", f"{DISTRACTORS[2]}\n{DISTRACTORS[13]}\n")
    protocol = read_megaface(*lists, distractor_noise=noise, ranks=(1, 2))
    rng = np.random.default_rng(3)
    gallery = rng.normal(size=(28, 6)).astype(np.float32)
    # Every photograph resembles its person's others, a little.
    for row, person in enumerate(protocol.identities):
        gallery[row, 0] += 3 if person == "Adam Brody" else -3
    gallery[20] = 0
    probes = gallery + rng.normal(size=gallery.shape).astype(np.float32)
    np.save(tmp_path / "gallery.npy", gallery)
    left = Embeddings(np.load(tmp_path / "gallery.npy", mmap_mode="r"), np.arange(28) != 4)
    right = Embeddings(probes)
    found = protocol.score(left, right if mixed else None, fars=(0.1, 1e-6))
    mates, usable = unit_rows(gallery, left.valid)
    asking, able = unit_rows(probes) if mixed else (mates, usable)
    for point in found.points:
        hits, trials = 0, 0
        for a in range(5):
            for b in range(5):
                if a == b or protocol.identities[a] != protocol.identities[b]:
                    continue
                trials += 1
                size = {10: 9, 25: 23}[point.distractors]
                mate = score(mates[a], asking[b])
                better = sum(score(asking[b], mates[5 + at]) >= mate for at in range(size) if usable[5 + at])
                hits += bool(usable[a] and able[b] and better < point.rank)
        assert (point.found, point.trials) == (hits, trials)
        assert point.used == {10: 9, 25: 22}[point.distractors]
    assert [(point.distractors, point.rank) for point in found.points] == [(10, 1), (10, 2), (25, 1), (25, 2)]
    assert 0 < found.points[2].rate < 1
    assert (found.photos, found.people, found.lone) == (5, 2, 0)
    assert (found.dropped_distractors, found.failed_distractors, found.failed_photos) == (2, 1, 1)
    assert "1 of 5 photographs have no usable embedding: they are never found and find nothing" in found.warnings
    assert "1 of 23 distractors have no usable embedding: they are never found and find nothing" in found.warnings
    assert [point.impostor for point in found.tar] == [115, 115]
    assert [point.supported for point in found.tar] == [True, False]
    assert [figure.name for figure in found.figures()] == [
        "rank-1, 25 distractors",
        "rank-2, 25 distractors",
        "TAR@FAR 1e-1",
        "TAR@FAR 1e-6",
        "rank-1, 10 distractors",
        "rank-2, 10 distractors",
    ]
    content = found.to_json()
    json.dumps(content, allow_nan=False)
    assert (content["photos"], content["dropped_distractors"]) == (5, 2)


def test_embeddings_must_fit(lists: tuple[Path, Path]) -> None:
    protocol = read_megaface(*lists)
    with pytest.raises(BitfaceError, match="29 embeddings for 30 images"):
        protocol.score(Embeddings(np.ones((29, 3))))
    with pytest.raises(BitfaceError, match="models of different sizes"):
        protocol.score(Embeddings(np.ones((30, 3))), Embeddings(np.ones((30, 4))))


TWO = {"path": ["a/1.png", "a/2.png"], "id": ["a", "a"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "isn't UTF-8"),
        ("", ":1: not JSON"),
        ('{"path": [\n"a/1.png"\n"a/2.png"]}', ":3: not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ([1], "holds no JSON object; expected"),
        ({"id": ["a"]}, "has no list 'path'"),
        ({"path": "a"}, "has no list 'path'"),
        ({"path": ["a/1.png"]}, "has no list 'id'"),
        ({"path": [], "id": []}, "'path' is empty"),
        (TWO | {"id": ["a"]}, "2 entries in 'path', but 1 in 'id'"),
        (TWO | {"path": ["a/1.png", 5]}, "entry 2 of 'path' is 5"),
        (TWO | {"path": ["a/1.png", ""]}, "entry 2 of 'path': an image path is empty"),
        (TWO | {"path": ["../1.png", "a"]}, "entry 1 of 'path': .* leads out"),
        (TWO | {"path": ["a/1.png", "a//1.png"]}, "entry 2 of 'path' is a//1.png, as is entry 1"),
        (TWO | {"id": ["a", None]}, "entry 2 of 'id' is null"),
        (TWO | {"id": ["", "a"]}, "entry 1 of 'id' is \"\""),
        (TWO | {"id": [True, "a"]}, "entry 1 of 'id' is true"),
        (TWO | {"id": ["a", "b"]}, "nobody has two photographs"),
    ],
)
def test_bad_lists_of_photographs(write: Writer, lists: tuple[Path, Path], content: object, message: str) -> None:
    path = write("photos.json", content)
    with pytest.raises(BitfaceError, match=message) as caught:
        read_megaface(path, lists[1])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"path": {}}, r"has no list 'path'; expected {\"path\": \[...\]}"),
        ({"path": ["x.jpg", "y.jpg", "x.jpg"]}, "entry 3 of 'path' is x.jpg, as is entry 1"),
        ({"path": [["x.jpg"]]}, r"entry 1 of 'path' is \[\"x.jpg\"\]; expected the path"),
    ],
)
def test_bad_lists_of_distractors(write: Writer, lists: tuple[Path, Path], content: object, message: str) -> None:
    path = write("others.json", content)
    with pytest.raises(BitfaceError, match=message) as caught:
        read_megaface(lists[0], path)
    assert str(caught.value).startswith(str(path))


def test_the_same_image_on_both_lists(write: Writer, lists: tuple[Path, Path]) -> None:
    path = write("others.json", {"path": ["b/9.png", PHOTOS["path"][3]]})
    with pytest.raises(BitfaceError, match=r"Buckley_5\.png is a photograph of facescrub_features_list\.json, too"):
        read_megaface(lists[0], path, probe_folder="x", distractor_folder="x")


def test_missing_files(tmp_path: Path, lists: tuple[Path, Path]) -> None:
    with pytest.raises(BitfaceError, match=r"none\.json: can't be read"):
        read_megaface(tmp_path / "none.json", lists[1])
    with pytest.raises(BitfaceError, match=r"none\.txt: can't be read"):
        read_megaface(*lists, probe_noise=tmp_path / "none.txt")


def test_bad_lists_of_noise(write: Writer, lists: tuple[Path, Path]) -> None:
    for content, message in (
        ("fine.png\n../x.png\n", r"noise\.txt:2: .* leads out"),
        (b"\xff.png", r"noise\.txt: isn't UTF-8"),
        ("\n".join(PHOTOS["path"]), r"facescrub_features_list\.json: every image in it is noise"),
        ("\n".join(PHOTOS["path"][at] for at in (1, 2, 4)), "nobody has two photographs"),
    ):
        with pytest.raises(BitfaceError, match=message):
            read_megaface(*lists, probe_noise=write("noise.txt", content))
    with pytest.raises(BitfaceError, match=r"megaface_features_list\.json_25_1: every image in it is noise"):
        read_megaface(*lists, distractor_noise=write("noise.txt", "\n".join(DISTRACTORS)))


@pytest.mark.parametrize("sizes", [(), (5, 5), (9, 3), (0, 4), (26,)])
def test_wrong_sizes(lists: tuple[Path, Path], sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="from 1 to the 25 entries of megaface_features_list"):
        read_megaface(*lists, sizes=sizes)
    with pytest.raises(UsageError, match="none below 1"):
        read_megaface(*lists, ranks=(0,))
