"""Every command that writes, on a small network and small pictures, as `chaos.py` runs them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image

from bitface import artifact, backbones
from bitface.evaluation.gallery_file import read_gallery
from bitface.evaluation.keys import read_key
from bitface.graph import from_module, load_network, to_onnx
from bitface.results.documents import read_result
from bitface.results.folder import check_files
from lib.children import run

SIDE, PEOPLE, SHOTS = 112, 8, 10


@dataclass(frozen=True)
class Command:
    """Arguments with `{out}` for what it writes to, which is a folder or a file.

    Attributes:
        copies: a file that lies there before, which the command writes over.
        timed: beginnings of names of files in which latencies stand: the same command writes others.
    """

    name: str
    arguments: Sequence[str]
    out: str = "out"
    copies: str | None = None
    timed: tuple[str, ...] = ()


def made(place: Path) -> list[Command]:
    """Makes what the commands are given, and gives them."""
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.125", embedding_size=16).train()
    with torch.no_grad():
        module(torch.randn(16, 3, SIDE, SIDE))
    onnx.save(to_onnx(from_module(module).graph), place / "net.onnx")
    random = np.random.default_rng(0)
    for person in range(PEOPLE):
        base = random.uniform(0, 255, (7, 7, 3))
        (place / "crops" / f"p{person}").mkdir(parents=True)
        for shot in range(SHOTS):
            coarse = np.clip(base + random.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            image = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            image.save(place / "crops" / f"p{person}" / f"{shot}.png")
    rows = ["a,b,same,fold"]
    for index in range(40):
        one, other = random.choice(PEOPLE, 2, replace=False)
        rows += [
            f"p{one}/0.png,p{one}/{1 + index % 3}.png,1,{index % 10}",
            f"p{one}/0.png,p{other}/1.png,0,{index % 10}",
        ]
    (place / "pairs.csv").write_text("\n".join(dict.fromkeys(rows)))
    texts = {
        "qat.yaml": "bits: w4a4\npreprocess: rgb-127.5-128\ncalibration: {observer: minmax}\n"
        "training: {loss: {feature: 1}, epochs: 2, batch: 8, precision: f32, views: flip}\n",
        "scratch.yaml": "backbone: mobilefacenet:0.125\nembedding_size: 16\n"
        "stages: [{loss: {softmax: 1}, epochs: 1, batch: 8, optimizer: sgd, rate: 0.01, precision: f32}]\n",
        "suite.yaml": f"models: {{float: {{path: {place}/net.onnx, preprocess: rgb-127.5-128}}}}\n"
        f"protocols: {{list: {{pairs: {place}/pairs.csv, root: {place}/crops}}}}\nfars: [0.2]\n",
        "compare.yaml": f"model: {place}/net.onnx\npreprocess: rgb-127.5-128\nimages: {place}/crops\nmax_images: 16\n"
        f"protocol: {{pairs: {place}/pairs.csv, root: {place}/crops}}\nfars: [0.2]\n"
        "candidates: {w8a8: {quantize: {bits: w8a8}}}\n",
    }
    for name, text in texts.items():
        (place / name).write_text(text)
    net, crops, few = f"{place}/net.onnx", f"{place}/crops", ("--max-images", "16")
    quantize = ("quantize", net, "--images", crops, *few, "--preprocess", "rgb-127.5-128")
    _run([*quantize, "--out", place / "made"], place)
    model = f"{place}/made/model.bitface"
    _run(["enroll", model, "--images", f"{place}/crops", "--out", place / "gallery.safetensors"], place)
    _run(["synth", "synthetic:3", "--out", place / "faces"], place)
    (place / "photographs").mkdir()
    for face in sorted((place / "faces").rglob("*.png")):
        photograph = Image.new("RGB", (640, 480), (128, 128, 128))
        photograph.paste(Image.open(face).resize((224, 224)), (200, 130))
        photograph.save(place / "photographs" / face.name)
    pairs = ("--pairs", f"{place}/pairs.csv", "--root", crops)
    faces = (net, "--images", crops, "--preprocess", "rgb-127.5-128")
    prune = ("--ratio", "0.3", "--epochs", "1", "--images", crops, "--preprocess", "rgb-127.5-128")
    return [
        Command("quantize", (*quantize, "--out", "{out}")),
        Command("train (QAT)", ("run", f"{place}/qat.yaml", net, "--images", crops, "--out", "{out}")),
        Command("train (from scratch)", ("run", f"{place}/scratch.yaml", "--images", crops, "--out", "{out}")),
        Command("prune", ("prune", net, *prune, "--out", "{out}")),
        Command("distill", ("distill", net, "--student", "mobilefacenet:0.125", "--epochs", "1", "--images", crops,
                            "--preprocess", "rgb-127.5-128", "--out", "{out}")),
        Command("search", ("search", *faces, "--max-images", "8", "--budget", "40KB", "--out", "{out}")),
        Command("sensitivity", ("sensitivity", *faces, "--max-images", "8", "--out", "{out}")),
        Command("compare", ("compare", f"{place}/compare.yaml", "--out", "{out}"),
                timed=("comparison.", "latencies")),
        Command("suite", ("evaluate", "--suite", f"{place}/suite.yaml", "--out", "{out}")),
        Command("analyse", ("analyse", net, model, *faces[1:], "--out", "{out}")),
        Command("calibrate", ("calibrate", "{out}", "--images", crops, "--far", "0.2"), "model.bitface", model),
        Command("enroll", ("enroll", model, "--images", crops, "--out", "{out}"), "gallery.safetensors"),
        Command("embed", ("embed", crops, "--model", model, "--out", "{out}"), "vectors.npz"),
        Command("export (ONNX)", ("export", model, "--target", "onnxruntime", "--out", "{out}"), "net.onnx"),
        Command("export (C)", ("export", model, "--target", "c", "--out", "{out}")),
        Command("report", ("report", f"{place}/made", "--out", "{out}"), "page.html"),
        Command("evaluate --json", ("evaluate", model, *pairs, "--far", "0.2", "--json", "{out}"), "result.json"),
        Command("data pack", ("data", "pack", crops, "--labels", "folder", "--out", "rec:{out}")),
        Command("synth", ("synth", "synthetic:8", "--out", "{out}")),
        Command("align", ("align", f"{place}/photographs", "--out", "{out}")),
        Command("key", ("key", "{out}"), "gallery.key", timed=("gallery.key",)),
        Command("gallery --remove", ("gallery", "{out}", "--remove", "p0"), "gallery.safetensors",
                f"{place}/gallery.safetensors"),
    ]  # fmt: skip


def _run(arguments: Sequence[object], place: Path) -> None:
    ending = run(arguments, place)
    if ending.code:
        raise SystemExit(f"{arguments[0]}: what the commands are given can't be made: {ending.errors}")


def unreadable(folder: Path) -> list[str]:
    """The files that a command left under names that are read, and can't be; and results beside others' files."""
    wrong = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "/." not in str(path)):
        if path.parent.name == "assets":  # of the cache, which are held against their hashes where they are used
            continue
        try:
            _read(path)
        except Exception as error:
            wrong.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return wrong


def _read(path: Path) -> None:
    if path.suffix == ".bitface":
        artifact.read(path)
    elif path.suffix == ".onnx":
        load_network(path)
    elif path.name == "gallery.safetensors":
        read_gallery(path)
    elif path.suffix == ".key":
        read_key(path)
    elif path.suffix == ".safetensors":
        _safetensors(path)
    elif path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "kind" in content and "schema" in content:
            read_result(path)
            check_files(path, content)
    elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("isn't a whole page")


def _safetensors(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        for key in file.keys():  # noqa: SIM118
            file.get_tensor(key)
