"""Runs a network in LiteRT's interpreter, on this machine's CPU."""

import os
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from bitface.files import muted
from bitface.graph import Network
from bitface.targets.base import Run, Settings
from bitface.targets.litert.emit import tflite


def start(source: Network | Path, settings: Settings) -> Run:
    """Float images in the graph's order go in, `[B, channels, H, W]`."""
    return Interpreters(source.read_bytes() if isinstance(source, Path) else tflite(source).content({}), settings)


class Interpreters:
    """Interpreters of one file, as many as calls meet: one computes a call at a time, image after image.

    Their threads don't live on in a forked process, which makes its own.
    """

    def __init__(self, model: bytes, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._idle: dict[int, deque[Any]] = {}  # by process
        self._of_process().append(self._interpreter())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        idle = self._of_process()
        try:
            interpreter = idle.pop()
        except IndexError:  # other threads have them
            interpreter = self._interpreter()
        try:
            image, embedding = (
                details[0]["index"] for details in (interpreter.get_input_details(), interpreter.get_output_details())
            )
            rows = []
            for row in np.ascontiguousarray(images.transpose(0, 2, 3, 1)):
                interpreter.set_tensor(image, row[None])
                interpreter.invoke()
                rows.append(interpreter.get_tensor(embedding))  # a copy
            return np.concatenate(rows)
        finally:
            idle.append(interpreter)

    def _of_process(self) -> deque[Any]:
        return self._idle.setdefault(os.getpid(), deque())

    def _interpreter(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        settings = self._settings
        threads = max(1, (settings.threads or os.cpu_count() or 1) // settings.streams)
        with muted():  # it says what kernels it takes
            interpreter = Interpreter(model_content=self._model, num_threads=threads)
            interpreter.allocate_tensors()
        return interpreter
