"""Does a network that ncnn runs here give the same on ARM? Its aarch64 build runs under qemu, on the same file.

    python benchmarks/arm.py [out/model.bitface …] [--images crops/] [--faces 8] [--measured]

Without an artifact it takes a MobileFaceNet of random weights, without images noise; with `--measured` the networks
and faces of the other benchmarks, and writes `benchmarks/results/arm.json`. It needs qemu-user-static, apt-get and pip:
an arm64 Python, numpy and ncnn go to `build/arm`, where nothing is installed and no root is needed. Where they are
missing it says so and ends well. Nothing of it tells a speed: qemu's has nothing to do with a device's.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.common import HERE, LFW, networks, save

from bitface import artifact
from bitface.backbones import create
from bitface.data.faces import choose, find_images, load_faces
from bitface.graph import Network, from_module, load_network
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import TARGETS, Settings
from bitface.targets.conform import conformed
from bitface.targets.ncnn.simulation import simulate
from bitface.targets.plans import for_targets
from bitface.targets.start import start
from bitface.targets.write import write

CACHE = HERE.parent / "build" / "arm"
TOOLS = {"qemu-aarch64-static": "qemu-user-static", "apt-get": "apt", "dpkg-deb": "dpkg"}
# A core without instructions for products of int8, and one with all that qemu has.
PROCESSORS = ("cortex-a72", "max")
# Debian's, for arm64; what they depend on comes with them.
PACKAGES = ("python3", "libgomp1", "libstdc++6")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
LEAST = 0.998
CALIBRATION = 200
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--images", type=Path, help="a folder of aligned crops; default: noise")
    parser.add_argument("--faces", type=int, default=8)
    parser.add_argument("--measured", action="store_true", help="the networks and faces of the other benchmarks")
    options = parser.parse_args()
    if missing := what_is_missing():
        print(f"skipped: {missing}")
        return
    cases = measured(options.faces) if options.measured else given(options.artifacts, options.images, options.faces)
    try:
        python = arm_python()
    except subprocess.CalledProcessError as error:
        print(f"skipped: {error.cmd[0]} can't fetch arm64 packages here")
        return
    rows: list[dict[str, Any]] = []
    for network, faces in cases:
        rows += compared(network, faces, python)
    if options.measured:
        save("arm", rows, faces=options.faces, ncnn=version("ncnn"))
    if min(row["x86"]["mean"] for row in rows) < LEAST:
        raise SystemExit(f"on ARM the embeddings' mean cosine to x86's is below {LEAST}")


def what_is_missing() -> str | None:
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            return f"{tool} isn't here (Debian's package {package})"
    try:
        version("ncnn")
    except PackageNotFoundError:
        return "ncnn isn't here (pip install 'bitface[ncnn]')"
    return None


def given(artifacts: list[Path], images: Path | None, count: int) -> Iterator[tuple[Network, np.ndarray]]:
    """Artifacts, or one network of random weights; faces as their input."""
    for network in [artifact.read(path).network for path in artifacts] or [random_network()]:
        yield network, inputs(network, crops(images, network, count))


def measured(count: int) -> Iterator[tuple[Network, np.ndarray]]:
    """The networks of the other benchmarks, quantized for ncnn with 200 unlabelled faces, and faces of none of them."""
    for name, (path, preprocess) in networks().items():
        network = load_network(path, preprocess)
        files = choose(find_images([LFW / "images"], LFW / "not_in_pairs.txt"), CALIBRATION + count, 0)
        faces = load_faces(files, network.size).images
        student = quantized(network, faces[:CALIBRATION])
        yield replace(student, name=name), inputs(student, faces[CALIBRATION:])


def random_network() -> Network:
    """A MobileFaceNet whose tensors have ranges like those of a trained one."""
    torch.manual_seed(0)
    module = create("mobilefacenet")
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 112, 112))
    network = replace(from_module(module.eval(), "rgb-127.5-127.5"), name="MobileFaceNet, random weights")
    return quantized(network, crops(None, network, CALIBRATION // 4))


def quantized(network: Network, faces: np.ndarray) -> Network:
    plan, _, _ = for_targets(BitPlan(), ["ncnn"])
    return quantize(network, faces, plan, Calibration())[0]


def crops(images: Path | None, network: Network, count: int) -> np.ndarray:
    if images is None:
        return np.random.default_rng(0).integers(0, 256, (count, *network.size, 3), dtype=np.uint8)
    return load_faces(choose(find_images([images]), count, 0), network.size).images


def inputs(network: Network, faces: np.ndarray) -> np.ndarray:
    assert network.preprocess is not None
    return network.preprocess(faces)


def compared(network: Network, faces: np.ndarray, python: list[str]) -> list[dict[str, Any]]:
    """A row for each processor: how near its embeddings are to those of ncnn here, and to ncnn's simulation."""
    with torch.inference_mode():
        graph = simulate(conformed(network, TARGETS["ncnn"].holds).graph)
        others = {"simulation": graph(torch.from_numpy(faces)).numpy()}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write("ncnn", network, {}, folder / "model")
        np.save(folder / "faces.npy", faces)
        others["x86"] = start("ncnn", folder / "model", Settings(threads=1))(faces)
        for processor in PROCESSORS:
            files = [str(folder / "model"), str(folder / "faces.npy"), str(folder / "out.npy")]
            command = [*python, str(HERE / "lib" / "on_arm.py"), *files]
            subprocess.run(command, env={**ENVIRONMENT, "QEMU_CPU": processor}, check=True)
            there = np.load(folder / "out.npy")
            alike = {word: likeness(there, rows_here) for word, rows_here in others.items()}
            rows.append({"network": network.name, "processor": processor, **alike})
            print(rows[-1], flush=True)
    return rows


def likeness(rows: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Cosine of the embeddings, and the share of their numbers that are equal to the last bit."""
    cosines = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    return {
        "mean": round(float(cosines.mean()), 5),
        "min": round(float(cosines.min()), 5),
        "equal": round(float((rows == others).mean()), 3),
    }


def arm_python() -> list[str]:
    """The command that runs an arm64 Python with numpy and ncnn under qemu, fetched where they aren't there."""
    root, site = CACHE / "root", CACHE / f"ncnn-{version('ncnn')}"
    if not (root / "usr" / "bin" / "python3").exists():
        fetch_debian(root)
    python = (root / "usr" / "bin" / "python3").resolve()
    if not site.exists():
        fetch_wheels(site, python.name.removeprefix("python"))
    ENVIRONMENT.update(PYTHONHOME=str(root / "usr"), PYTHONPATH=str(site))
    return ["qemu-aarch64-static", "-L", str(root), str(python)]


def fetch_debian(root: Path) -> None:
    """Debian's packages, by an apt of its own that knows of nothing installed."""
    state, cache = CACHE / "apt", CACHE / "debs"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    directories = {"Dir::State": state, "Dir::State::status": state / "status", "Dir::Cache": cache}
    settings = {**directories, "APT::Architecture": "arm64", "APT::Architectures": "arm64", "Debug::NoLocking": 1}
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    apt = ["apt-get", "-qq", *options]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES], check=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        for package in sorted((cache / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), name], check=True)
        Path(name).rename(root)


def fetch_wheels(site: Path, python: str) -> None:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", name]
        wheels = [f"ncnn=={version('ncnn')}", "numpy"]
        subprocess.run([*pip, *platforms, "--python-version", python, *wheels], check=True)
        content = Path(name) / "content"
        for wheel in Path(name).glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(content)
        content.rename(site)


if __name__ == "__main__":
    main()
