"""Two photographs before networks: the crops they see, how alike these are to each, and what it decides."""

import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bitface.data.images import ImageSkipped
from bitface.errors import BitfaceError
from bitface.evaluation import row_scores, unit_rows
from bitface.evaluation.figures.thresholds import about_extrapolation, nearest_threshold
from bitface.inputs.photographs import FaceCrop, Photographs
from bitface.runtime import Embedder, Model
from bitface.runtime.embedder import about_engine
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.exact import trusted
from bitface.targets.registry import title_of

SIDES = ("the left picture", "the right picture")


class Trial:
    """The networks that are looked at, ready to run, and the threshold that all of them decide by.

    Not for several threads at once: the face detector isn't.
    """

    def __init__(
        self,
        model: Model,
        float_model: Model | None = None,
        far: float | None = None,
        engine: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Args:
            model: what is tried, an artifact as a rule.
            float_model: the network that it was made from, of the same image size.
            far: whose stored threshold decides; None: the strictest that the artifact holds, if it holds any.
            engine: that runs `model`; None: the one its threshold was found with, where that is exact on this CPU.

        Raises:
            BitfaceError: no threshold is stored for `far`, the sizes differ, or an engine refuses a network.
        """
        self._stored = _threshold(model, far)
        tried = Embedder(model, engine or trusted(model, self._stored.get("engine")), threads)
        self._embedders = {"integer" if model.integer else "float": tried}
        self.notes, self.warnings = about_engine(tried)
        if self._stored:
            differences = self._stored.get("engines", {})
            origin = other_engine(self._stored.get("engine"), tried.engine, differences, "the threshold")
            self.notes = [*self.notes, *([origin] if origin else [])]
        else:
            self.notes = [*self.notes, _no_threshold(model)]
        self.notes = [*self.notes, *about_extrapolation(self._stored)]
        if float_model is not None:
            if float_model.known.size != model.known.size:
                raise BitfaceError(
                    f"{float_model.path}: takes images of {float_model.known.size}, {model.path} of "
                    f"{model.known.size}; give the network that it was made from"
                )
            self._embedders = {"float": Embedder(float_model, None, threads), **self._embedders}
            if model.teacher.get("fingerprint") not in (None, float_model.fingerprint):
                self.warnings = [*self.warnings, f"{model.path} was made from another network than {float_model.path}"]
            if self._stored:
                self.notes = [*self.notes, "both decide by the artifact's threshold, which was found with its integers"]
        self._photographs = Photographs(model.known.size)
        self.compare_crops(np.zeros((2, *model.known.size, 3), np.uint8))  # the first run of an engine takes longer

    @property
    def title(self) -> str:
        """The files that are looked at."""
        return " beside ".join(embedder.model.path.name for embedder in reversed(self._embedders.values()))

    @property
    def facts(self) -> dict[str, Any]:
        """What the page says before anything is compared."""
        threshold = {key: self._stored[key] for key in ("far", "threshold")} if self._stored else None
        return {"title": self.title, "threshold": threshold, "notes": self.notes, "warnings": self.warnings}

    def compare(self, pictures: Sequence[bytes]) -> dict[str, Any]:
        """Two image files, decoded by the rules for all images (see `data.images`), before every network.

        Returns:
            `crops`: both as data URIs; `faces`: how many were found in each picture (None: it was a crop); `networks`:
            see `compare_crops`.

        Raises:
            BitfaceError: a picture can't be read or shows no face, or gives no usable embedding.
        """
        faces = [self._crop(*pair) for pair in zip(pictures, SIDES, strict=True)]
        return {
            "crops": [_uri(face.crop) for face in faces],
            "faces": [face.photograph.faces if face.photograph else None for face in faces],
            "networks": self.compare_crops(np.stack([face.crop for face in faces])),
        }

    def compare_crops(self, crops: np.ndarray) -> list[dict[str, Any]]:
        """Two crops, uint8 RGB `[2, H, W, 3]`, before every network.

        Returns:
            `kind`, `name`, `engine`, `similarity`, `threshold` and `same` (None: there is no threshold), `milliseconds`
            for one face.
        """
        threshold = self._stored.get("threshold")
        flip = bool(self._stored.get("flip", False))
        answers = []
        for kind, embedder in self._embedders.items():
            began = time.perf_counter()
            rows = np.concatenate([embedder.embed(crop, flip) for crop in crops])
            milliseconds = 1e3 * (time.perf_counter() - began) / len(crops)
            unit, usable = unit_rows(rows)
            score = float(row_scores(unit, usable, [0], [1])[0]) if usable.all() else None
            answers.append(
                {
                    "kind": kind,
                    "name": embedder.model.path.name,
                    "engine": title_of(embedder.target),
                    "similarity": score,
                    "threshold": threshold,
                    "same": None if threshold is None or score is None else score >= threshold,
                    "milliseconds": milliseconds,
                }
            )
        return answers

    def _crop(self, picture: bytes, side: str) -> FaceCrop:
        """The largest face of a picture; one of the network's size is a crop already."""
        try:
            return self._photographs.crops(Path(side), picture)[0]
        except ImageSkipped as error:
            raise BitfaceError(f"{side}: {error.reason}") from error


def _threshold(model: Model, far: float | None) -> dict[str, Any]:
    """What is stored of the threshold that decides; nothing where there is none."""
    stored = model.thresholds or []
    if far is not None:
        return nearest_threshold(stored, far)
    return min(stored, key=lambda one: float(one["far"]), default={})


def _no_threshold(model: Model) -> str:
    if model.kind != "artifact":
        return f"{model.path.name} is no .bitface file, so it holds no threshold: scores are shown, nothing is decided"
    return (
        f"{model.path.name} holds no threshold, so scores are shown and nothing is decided; bitface calibrate "
        f"{model.path} --images people/ finds some"
    )


def _uri(image: np.ndarray) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"
