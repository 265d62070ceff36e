"""The score against plain loops, the choice against made-up scores, and both against real networks and faces."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bitface import backbones
from bitface.analysis.preprocessing import PresetScore, best_preset, copies, rank_presets, separation
from bitface.data.images import read_image
from bitface.errors import UsageError
from bitface.graph import from_module, load_network
from bitface.preprocess import PRESETS, parse


def faces(count: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 8))


def scores(values: dict[str, float], count: int = 64) -> list[PresetScore]:
    ranked = sorted(values.items(), key=lambda item: -item[1])
    return [PresetScore(name, value, 0.9, 0.0, count) for name, value in ranked]


def test_separation_in_plain_loops() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(2, 7, 5))
    second += 2 * first

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))

    distances, own, other = [], [], []
    for i in range(7):
        rest = [cosine(first[i], second[j]) for j in range(7) if j != i]
        rest += [cosine(first[j], second[i]) for j in range(7) if j != i]
        mean = sum(rest) / len(rest)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in rest) / len(rest))
        own.append(cosine(first[i], second[i]))
        distances.append((own[-1] - mean) / deviation)
        other += rest
    expected = (sum(distances) / 7, sum(own) / 7, sum(other) / len(other))
    assert separation(first, second) == pytest.approx(expected)


def test_separation_of_nothing() -> None:
    same = np.ones((8, 4), np.float32)
    assert separation(same, same)[0] == 0
    assert separation(np.zeros_like(same), same) == (0, 0, 0)
    broken = same.copy()
    broken[3, 2] = np.nan
    assert separation(broken, same) == (0, 0, 0)


def test_copies_are_mirrored_and_shifted() -> None:
    originals = faces(30, 20, 24)
    shifted = copies(originals)
    assert shifted.shape == originals.shape
    assert np.array_equal(shifted, copies(originals))
    assert np.array_equal(shifted[:5], copies(originals[:5]))
    offsets = set()
    for face, copy in zip(originals, shifted, strict=True):
        mirrored = face[:, ::-1]
        found = [
            (down, right)
            for down in range(-4, 5)
            for right in range(-4, 5)
            if np.array_equal(copy[4:-4, 4:-4], mirrored[4 + down : 16 + down, 4 + right : 20 + right])
        ]
        assert len(found) == 1
        offsets |= set(found)
    assert {abs(offset) for pair in offsets for offset in pair} == {2, 3, 4}
    assert len(offsets) > 10
    flat = np.full((1, 20, 24, 3), 7, np.uint8)
    assert (copies(flat) == 7).all(), "the border isn't repeated"


@pytest.mark.parametrize("count", [8, 13, 16, 20])
def test_ranking_is_what_the_graph_says(count: int) -> None:
    network = from_module(tiny(), size=(16, 16))
    images = faces(count)
    ranked = rank_presets(network, images)
    assert sorted(score.name for score in ranked) == sorted(PRESETS)
    for score in ranked:
        preprocess = parse(score.name, (16, 16))
        used = images[: score.faces]
        with torch.no_grad():
            pair = [network.graph(torch.from_numpy(preprocess(part))).numpy() for part in (used, copies(used))]
        assert (score.score, score.own, score.other) == pytest.approx(separation(*pair), rel=1e-3, abs=1e-3)
    assert ranked == rank_presets(network, images)
    final = [score.score for score in ranked if score.faces == count and score.score is not None]
    assert final == sorted(final, reverse=True)
    assert ranked[0].to_json()["name"] == ranked[0].name


def test_own_and_named_words_are_ranked_too() -> None:
    network = from_module(tiny(), "bgr-104,117,123-1", size=(16, 16))
    seen: list[tuple[int, int]] = []
    ranked = rank_presets(network, faces(24), ("rgb-100-50",), lambda *state: seen.append(state))
    assert {score.name for score in ranked} == {*PRESETS, "bgr-104,117,123-1", "rgb-100-50"}
    assert seen[-1] == (24, 24)
    assert seen == sorted(seen)
    with pytest.raises(UsageError):
        rank_presets(network, faces(24), ("rgb-nonsense",))


def test_a_network_that_shows_its_preprocessing() -> None:
    """Without training: one whose every unit saturates unless the image is centred and scaled as it wants."""

    class Saturating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3 * 16, 64, bias=False)
            torch.manual_seed(0)
            nn.init.normal_(self.fc.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.fc(torch.flatten(nn.functional.avg_pool2d(x, 4), 1)) * 3)

    symmetric = np.random.default_rng(0).integers(0, 256, (32, 2, 1, 3)).astype(np.uint8)
    images = np.repeat(np.repeat(symmetric, 8, 1), 16, 2)
    ranked = rank_presets(from_module(Saturating(), size=(16, 16)), images)
    assert ranked[-1].name.endswith(("raw", "0-255"))
    assert ranked[0].name.endswith(("127.5", "128", "imagenet"))


def test_too_few_faces_say_so() -> None:
    ranked = rank_presets(from_module(tiny(), size=(16, 16)), faces(7))
    assert [score.name for score in ranked] == list(PRESETS)
    assert {score.score for score in ranked} == {None}
    best, why = best_preset(ranked, "rgb-raw")
    assert best is None
    assert why == "7 faces are too few to check the preprocessing; give at least 8"
    assert best_preset([])[0] is None


def test_an_untrained_network_says_so() -> None:
    torch.manual_seed(0)
    network = from_module(backbones.create("mobilefacenet:0.25", input_size=64), size=(64, 64))
    best, why = best_preset(rank_presets(network, faces(12, 64, 64)))
    assert best is None
    assert why is not None
    assert "under no preset" in why


def test_the_default_stays_among_the_best() -> None:
    table = scores({"rgb-raw": 8.0, "bgr-raw": 7.9, "rgb-0-255": 5.0})
    assert best_preset(table, "bgr-raw") == ("bgr-raw", None)
    assert best_preset(table, "rgb-raw") == ("rgb-raw", None)
    best, warning = best_preset(table, "rgb-0-255")
    assert best == "rgb-raw"
    assert warning == (
        "the preprocessing rgb-0-255 seems wrong: under rgb-raw the network tells these faces apart better "
        "(d' 8.0 against 5.0)"
    )


def test_fewer_faces_say_less() -> None:
    values = {"rgb-raw": 8.0, "rgb-0-255": 7.2}
    assert best_preset(scores(values, 64), "rgb-0-255")[0] == "rgb-raw"
    assert best_preset(scores(values, 16), "rgb-0-255") == ("rgb-0-255", None)


def test_few_people_are_told_apart_by_their_mean_cosines() -> None:
    few = [PresetScore("rgb-raw", 2.5, 0.85, 0.2, 32), PresetScore("rgb-imagenet", 1.2, 0.97, 0.95, 16)]
    assert best_preset(few) == ("rgb-raw", None)
    assert best_preset([PresetScore("rgb-raw", 2.5, 0.85, 0.5, 32)])[0] is None


def test_rgb_goes_before_bgr_unless_bgr_is_clearly_better() -> None:
    assert best_preset(scores({"bgr-raw": 8.0, "rgb-raw": 7.8, "rgb-imagenet": 7.9}))[0] == "rgb-imagenet"
    assert best_preset(scores({"bgr-raw": 8.0, "rgb-raw": 7.0, "bgr-imagenet": 7.9}))[0] == "bgr-raw"


def test_all_but_equal_scores_go_by_the_order_of_presets() -> None:
    values = {"rgb-127.5-128": 8.0, "rgb-127.5-127.5": 7.999, "rgb-imagenet": 7.9}
    assert best_preset(scores(values))[0] == "rgb-127.5-127.5"


def test_an_unknown_default_is_not_judged() -> None:
    assert best_preset(scores({"rgb-raw": 8.0}), "bgr-104,117,123-1") == ("rgb-raw", None)


def _check(network_path: Path, data_dir: Path, right: str, seed: int) -> None:
    names = (data_dir / "lfw" / "not_in_pairs.txt").read_text().split()
    chosen = np.random.default_rng(seed).permutation(len(names))[:64]
    images = np.stack([read_image(data_dir / "lfw" / "images" / names[index]) for index in chosen])
    network = load_network(network_path)
    ranked = rank_presets(network, images)
    right_score = next(score for score in ranked if score.name == right)
    assert ranked[0].score is not None
    assert ranked[0].score > 6
    assert right_score.score is not None
    assert right_score.score > 0.96 * ranked[0].score
    assert best_preset(ranked, right) == (right, None)
    wrong = "rgb-127.5-127.5" if right == "rgb-raw" else "rgb-raw"
    best, warning = best_preset(ranked, wrong)
    assert best is not None
    assert best.startswith("rgb")
    assert warning


@pytest.mark.data
@pytest.mark.parametrize(("name", "right"), [("foamliu", "rgb-imagenet"), ("prelu", "rgb-raw")])
def test_real_networks(data_dir: Path, name: str, right: str) -> None:
    _check(data_dir / "models" / f"{name}_mobilefacenet.onnx", data_dir, right, 1)


@pytest.mark.data
def test_four_people_are_enough(data_dir: Path) -> None:
    files = [
        data_dir / "att" / "images" / f"s{person}" / f"{shot}.jpg" for person in (1, 2, 3, 4) for shot in range(1, 9)
    ]
    images = np.stack([read_image(path) for path in files])
    ranked = rank_presets(load_network(data_dir / "models" / "prelu_mobilefacenet.onnx"), images)
    assert best_preset(ranked) == ("rgb-raw", None)


@pytest.mark.data
@pytest.mark.assets
def test_default_teacher(data_dir: Path, asset: Callable[[str], Path]) -> None:
    _check(asset("sface"), data_dir, "rgb-raw", 2)


@pytest.mark.parametrize(
    "word", ["bgr-91.4953,103.8827,131.0912-1", "rgb-0-0.00001", "rgb-127.5-128", "grey-0.1234567890123-58.395"]
)
def test_the_word_says_the_numbers_exactly(word: str) -> None:
    preprocess = parse(word, (112, 112))
    assert preprocess.name == word
    assert parse(preprocess.name, (112, 112)) == preprocess
