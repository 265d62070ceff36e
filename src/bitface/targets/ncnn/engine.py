"""ncnn on this machine's CPU, by its own wheel."""

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.scratch import scratch
from bitface.targets.base import Run, Settings
from bitface.targets.ncnn.emit import emit
from bitface.targets.ncnn.layers import INTEGERS
from bitface.targets.ncnn.model_files import BIN, EMBEDDING, IMAGE, PARAM

# Floats are float32, as in the simulation; ncnn itself would take what is fastest on a CPU.
_FLOAT32 = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")


def start(source: Network | Path, settings: Settings) -> Run:
    """ncnn on the CPU, one image after the other. With several streams a call computes in its own thread."""
    if isinstance(source, Path):
        return Ncnn(source, settings)
    with scratch() as folder:
        emit(source, {}, folder)
        return Ncnn(folder, settings)


class Ncnn:
    """A model; a call has an extractor of its own, so calls from several threads don't meet.

    A forked process has none of OpenMP's threads: it loads the model anew, for one.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        for file in (PARAM, BIN):
            if not (folder / file).is_file():
                raise BitfaceError(f"{folder}: no ncnn model, {file} is missing")
        self._param, self._numbers = (folder / PARAM).read_bytes(), (folder / BIN).read_bytes()
        self._process = os.getpid()
        self._net = _loaded(folder, settings.threads if settings.streams == 1 else 1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        import ncnn

        if os.getpid() != self._process:
            self._load_again()
        rows = []
        for image in images:
            extractor = self._net.create_extractor()
            # A copy, as a blob made of an array doesn't keep it.
            extractor.input(IMAGE, ncnn.Mat(np.ascontiguousarray(image, np.float32)).clone())
            failed, embedding = extractor.extract(EMBEDDING)
            if failed:
                raise BitfaceError(f"ncnn can't compute it (error {failed}); see its own messages")
            rows.append(np.array(embedding, np.float32).reshape(-1))
        return np.stack(rows)

    def _load_again(self) -> None:
        with scratch() as folder:
            (folder / PARAM).write_bytes(self._param)
            (folder / BIN).write_bytes(self._numbers)
            self._net, self._process = _loaded(folder, 1), os.getpid()


def _loaded(folder: Path, threads: int | None) -> Any:
    import ncnn

    net = ncnn.Net()
    for option in _FLOAT32:
        setattr(net.opt, option, False)
    net.opt.use_packing_layout = not _packing_is_inexact(folder)
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(folder / PARAM)) or net.load_model(str(folder / BIN)):
        raise BitfaceError(f"{folder}: ncnn can't read it; see its own messages")
    if IMAGE not in net.input_names() or EMBEDDING not in net.output_names():
        raise BitfaceError(f"{folder}: this ncnn model doesn't go from a blob '{IMAGE}' to '{EMBEDDING}'")
    return net


def _packing_is_inexact(folder: Path) -> bool:
    """On x86 CPUs integer depthwise layers whose channels are packed multiply by a reciprocal that is right to 12 bits
    only. Without packing they compute what they do on ARM, if more slowly.
    """
    layers = (folder / PARAM).read_text(encoding="utf-8", errors="replace").splitlines()
    depthwise = any(line.startswith("ConvolutionDepthWise") and f" {INTEGERS}=" in line for line in layers)
    return depthwise and platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
