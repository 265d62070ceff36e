"""What the table of docs/api.md says: a function for every command, with nothing else imported."""

from pathlib import Path

import pytest

import bitface as bf

pytestmark = pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate")


@pytest.fixture(scope="session")
def made(network: bf.Network, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `quantize`, and the float network beside it."""
    import onnx

    from bitface.graph import to_onnx

    folder = tmp_path_factory.mktemp("made")
    onnx.save(to_onnx(network.graph, metadata={"bitface.preprocess": "rgb-127.5-128"}), folder / "net.onnx")
    request = bf.QuantizeRequest(folder / "net.onnx", bf.FaceSource([crops]), folder / "out", bf.BitPlan.parse("w8a8"))
    result = bf.quantize_model(request)
    assert result["kind"] == "quantization"
    return folder


@pytest.mark.slow
def test_what_commands_do(made: Path, crops: Path, listed: Path, tmp_path: Path) -> None:
    float32, int8 = made / "net.onnx", made / "out" / "model.bitface"
    assert bf.inspect_model(float32, [crops])["embedding_size"] == 32
    assert bf.inspect_model(int8)["kind"] == "artifact"
    thresholds = bf.calibrate_model(bf.CalibrateRequest(int8, source=bf.FaceSource([crops]), fars=(0.05,)))[
        "thresholds"
    ]
    assert thresholds[0]["far"] == 0.05
    first, second = crops / "p00" / "0.png", crops / "p00" / "1.png"
    assert bf.verify_images(first, second, int8, far=0.05)["threshold"] == thresholds[0]["threshold"]
    gallery = tmp_path / "gallery.safetensors"
    assert bf.enroll(bf.EnrollRequest(int8, bf.FaceSource([crops]), gallery))["people"] == 12
    assert bf.identify_images([first], gallery, int8)[0]["people"][0]["id"] == "p00"
    assert bf.export_model(int8, tmp_path / "m.onnx", target="onnxruntime")["bytes"] > 0
    figures = bf.evaluate(int8, bf.pairs(listed, root=crops), baseline=float32, fars=[0.2])
    assert figures.evaluation.baseline is not None
    assert len(figures.evaluation.baseline.mixed) == 4
    people = bf.evaluate(int8, bf.protocol({"people": str(crops)}, name="people"), fars=[0.2])
    assert people["rank-1"].value is not None
    page = tmp_path / "report.html"
    bf.make_report(bf.ReportRequest([made / "out"], out=page))
    assert page.stat().st_size > 1000


@pytest.mark.slow
def test_a_training_goes_on_from_its_checkpoint(
    network: bf.Network,
    crops: Path,
    tmp_path: Path,
) -> None:
    faces = bf.faces(crops, max_images=64)
    state = tmp_path / "state.safetensors"
    whole = bf.train(network, faces, bits="w4a4", epochs=2, checkpoint=state)
    assert whole.history is not None
    again = bf.train(network, faces, bits="w4a4", epochs=2, checkpoint=state)
    assert again.history is not None
    assert again.fingerprint == whole.fingerprint
    with pytest.raises(bf.BitfaceError, match=r"state\.safetensors"):
        bf.train(network, faces, bits="w6a6", epochs=2, checkpoint=state)
