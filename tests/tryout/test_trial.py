from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.jobs.people.try_ import TryRequest, serve_trial
from bitface.runtime.model import open_model
from bitface.tryout import Trial
from support.quantized import Mixed, faces, network

from .conftest import FAR, SIDE, THRESHOLD, png


@pytest.fixture(scope="module")
def trial(models: Path) -> Trial:
    with serve_trial(TryRequest(models / "model.bitface", models / "net.onnx")) as server:
        return server.trial


def cosine(pictures: np.ndarray) -> float:
    """By the network itself, in plain loops."""
    import torch

    net = network(Mixed(), SIDE)
    images = torch.from_numpy((pictures.astype(np.float32) - 127.5) / 127.5).permute(0, 3, 1, 2)
    with torch.no_grad():
        first, second = net.graph(images).double().numpy()
    return float(sum(first * second) / (sum(first**2) * sum(second**2)) ** 0.5)


def test_both_networks_judge_the_same_crops(trial: Trial, pictures: list[bytes]) -> None:
    answer = trial.compare(pictures)
    own, integer = answer["networks"]
    assert (own["kind"], own["name"]) == ("float", "net.onnx")
    assert (integer["kind"], integer["name"]) == ("integer", "model.bitface")
    assert own["similarity"] == pytest.approx(cosine(faces(2, SIDE, seed=3)), abs=1e-4)
    assert integer["similarity"] == pytest.approx(own["similarity"], abs=0.1)
    for one in (own, integer):
        assert one["threshold"] == THRESHOLD
        assert one["same"] == (one["similarity"] >= THRESHOLD)
        assert one["milliseconds"] > 0
    assert answer["faces"] == [None, None], "they were crops"
    assert all(uri.startswith("data:image/png;base64,") for uri in answer["crops"])


def test_the_strictest_threshold_decides_unless_another_is_asked_for(models: Path, trial: Trial) -> None:
    assert trial.facts["threshold"] == {"far": FAR, "threshold": THRESHOLD}
    model = open_model(models / "model.bitface")
    assert Trial(model, far=0.1).facts["threshold"] == {"far": 0.1, "threshold": 0.2}
    with pytest.raises(BitfaceError, match="no threshold for FAR 1e-05"):
        Trial(model, far=1e-5)


def test_without_a_threshold_nothing_is_decided(models: Path, pictures: list[bytes]) -> None:
    bare = Trial(open_model(models / "bare.bitface"))
    (one,) = bare.compare(pictures)["networks"]
    assert (one["threshold"], one["same"]) == (None, None)
    assert bare.facts["threshold"] is None
    assert any("holds no threshold" in note and "bitface calibrate" in note for note in bare.facts["notes"])


def test_what_is_no_picture_is_said_in_a_line(trial: Trial, pictures: list[bytes]) -> None:
    with pytest.raises(BitfaceError, match=r"^the right picture: not an image"):
        trial.compare([pictures[0], b"<svg onload=alert(1)>"])
    with pytest.raises(BitfaceError, match=r"^the left picture: truncated"):
        trial.compare([png(faces(1, 64)[0])[:-400], pictures[1]])


def test_networks_that_do_not_belong_together(models: Path, tmp_path: Path) -> None:
    from support.quantized import Small, onnx_file

    other = onnx_file(Small(), 112, tmp_path / "other.onnx")
    with pytest.raises(BitfaceError, match="takes images of 112x112"):
        serve_trial(TryRequest(models / "model.bitface", other))
    with pytest.raises(BitfaceError, match="isn't a float network"):
        serve_trial(TryRequest(models / "model.bitface", models / "bare.bitface"))
    with pytest.raises(UsageError):
        serve_trial(TryRequest(models / "model.bitface", engine="abacus"))
