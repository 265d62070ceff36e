"""`bitface verify --camera`: is the person on a photograph the one in front of a camera, or in a video?"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bitface import signals
from bitface.data.images import ImageSkipped
from bitface.errors import BitfaceError
from bitface.files import atomic_path, muted, path_fields
from bitface.inputs.photographs import LARGEST, FaceWord, NoFace, Photographs, face_crops
from bitface.jobs.people.verify import Judge, of_many
from bitface.progress import Steps, silent

_TITLE = "bitface verify (q or Esc ends it)"
_KEYS = (ord("q"), 27)
_GREEN, _RED = (60, 180, 60), (60, 60, 220)
_RATE = 25.0  # frames a second of a camera that doesn't say it
_CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "mp4v"}


@dataclass(frozen=True)
@path_fields
class CameraRequest:
    """Whom to look for, and where; the options of `bitface verify --camera`.

    Attributes:
        first: a photograph, or an aligned crop.
        camera: a camera's number, or a video file.
        face: which of several faces in a frame; of `all` the most similar one decides.
        seconds: after which it ends; None: at the video's end, or when somebody closes the window.
        out: a video file with the decisions drawn on it; None: they are shown in a window, if there can be one.
    """

    first: Path
    camera: str
    model: Path
    far: float
    face: FaceWord = LARGEST
    engine: str | None = None
    seconds: float | None = None
    out: Path | None = None


@dataclass(frozen=True)
class _Face:
    box: tuple[int, int, int, int]
    similarity: float
    same: bool

    def to_json(self) -> dict[str, Any]:
        return {"box": list(self.box), "similarity": self.similarity, "same": self.same}


def verify_camera(request: CameraRequest, steps: Steps = silent) -> dict[str, Any]:
    """Compares a photograph with every frame; the same person is seen where at least half of the frames with a face in
    them say so.

    Returns:
        As `verify_images`; `similarity` is the median of the frames', `frames` tell of each one that shows a face its
        number, the second and the faces, `frames_seen`, `frames_judged` and `frames_same` how many there were.

    Raises:
        NoFace: the photograph, or not one frame, shows a face.
        BitfaceError: the camera or the video can't be opened, or there is no window to show it in.
    """
    judge = Judge(request.model, request.far, request.engine)
    ((first, *_),) = face_crops([request.first], judge.size, [LARGEST])
    reference = judge.embed([first])
    photographs = Photographs(judge.size, request.face)
    frames: list[dict[str, Any]] = []
    seen = 0
    with ExitStack() as stack:
        video = stack.enter_context(_opened(request.camera))
        show = stack.enter_context(_shown(request, video.rate))
        tell = steps("comparing frames")
        try:
            for seen, (second, frame) in enumerate(video.frames(request.seconds), 1):
                faces = _judged(judge, reference, photographs, frame, request.camera)
                if faces:
                    frames.append(
                        {"frame": seen - 1, "second": round(second, 3), "faces": [face.to_json() for face in faces]}
                    )
                tell(seen, max(video.count, seen + 1))
                if not show(_drawn(frame, faces)):
                    break
        except KeyboardInterrupt:
            if not signals.by_ctrl_c():
                raise
            # what was seen until then decides
    if not seen:
        raise BitfaceError(f"{request.camera}: gives no picture; is it a video that OpenCV can read?")
    if not frames:
        raise NoFace(f"{request.camera}: no face is found in {seen} frames")
    best = [max(frame["faces"], key=lambda face: face["similarity"]) for frame in frames]
    same = sum(bool(face["same"]) for face in best)
    return {
        "same": 2 * same >= len(best),
        "similarity": float(np.median([face["similarity"] for face in best])),
        **judge.facts,
        "images": [str(request.first), request.camera],
        "aligned": [str(first.path)] if first.photograph else [],
        "faces": [first.photograph.to_json()] if first.photograph else [],
        "frames_seen": seen,
        "frames_judged": len(best),
        "frames_same": same,
        "frames": frames,
        "notes": [
            *([first.photograph.note] if first.photograph else []),
            *of_many(max(len(frame["faces"]) for frame in frames)),
            *judge.notes,
        ],
        "warnings": judge.warnings,
    }


def _judged(judge: Judge, reference: np.ndarray, photographs: Photographs, frame: np.ndarray, name: str) -> list[_Face]:
    try:
        crops = photographs.of(np.ascontiguousarray(frame[..., ::-1]), Path(name))
    except ImageSkipped:
        return []
    similarities = judge.similarities(reference, judge.embed(crops))[0]
    return [
        _Face(crop.photograph.box, float(similarity), judge.same(float(similarity)))
        for crop, similarity in zip(crops, similarities, strict=True)
        if crop.photograph
    ]


def _drawn(frame: np.ndarray, faces: list[_Face]) -> np.ndarray:
    """A frame (BGR) with the decision on each face."""
    picture = frame.copy()
    for face in faces:
        (x, y, width, height), colour = face.box, _GREEN if face.same else _RED
        cv2.rectangle(picture, (x, y), (x + width, y + height), colour, 2)
        text = f"{'same' if face.same else 'different'} {face.similarity:.2f}"
        cv2.putText(picture, text, (max(0, x), max(16, y - 6)), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 2, cv2.LINE_AA)
    return picture


@dataclass(frozen=True)
class _Video:
    """An open camera or file; `count`: its frames, 0 where nobody knows."""

    capture: Any
    rate: float
    count: int

    def frames(self, seconds: float | None) -> Iterator[tuple[float, np.ndarray]]:
        """The frames, BGR, each with its second."""
        number = 0
        while seconds is None or number / self.rate < seconds:
            with muted():
                good, frame = self.capture.read()
            if not good:
                return
            yield number / self.rate, frame
            number += 1


@contextmanager
def _opened(word: str) -> Iterator[_Video]:
    is_camera = word.isdigit()
    if not is_camera and not Path(word).is_file():
        raise BitfaceError(f"{word}: no such file; give a video file, or a camera's number")
    with muted():  # what its libraries say of damaged files
        capture = cv2.VideoCapture(int(word) if is_camera else word)
    try:
        if not capture.isOpened():
            what = f"camera {word} can't be opened; is it connected, and used by nobody else?"
            raise BitfaceError(what if is_camera else f"{word}: not a video that OpenCV can read")
        count = 0 if is_camera else max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        yield _Video(capture, capture.get(cv2.CAP_PROP_FPS) or _RATE, count)
    finally:
        capture.release()


class _Shown:
    """Where frames go: into a file or a window. Whether to go on is what a call answers."""

    def __init__(self, path: Path | None, rate: float) -> None:
        self.path, self.rate = path, rate
        self._writer: Any = None

    def __call__(self, picture: np.ndarray) -> bool:
        if self.path is None:
            cv2.imshow(_TITLE, picture)
            return cv2.waitKey(1) & 0xFF not in _KEYS
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*_CODECS.get(self.path.suffix.lower(), "mp4v"))
            height, width = picture.shape[:2]
            self._writer = cv2.VideoWriter(str(self.path), codec, self.rate, (width, height))
            if not self._writer.isOpened():
                raise BitfaceError(f"{self.path}: OpenCV can't write such a video; name it .avi or .mp4")
        self._writer.write(picture)
        return True

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


@contextmanager
def _shown(request: CameraRequest, rate: float) -> Iterator[Any]:
    if request.out is None:
        if _has_windows():
            try:
                yield _Shown(None, rate)
            finally:
                cv2.destroyAllWindows()
        elif request.camera.isdigit():
            raise BitfaceError(
                "there is no window to show the camera in: this OpenCV has none (pip install 'bitface[camera]', in the "
                "place of opencv-python-headless), or there is no screen; --out writes a video instead"
            )
        else:
            yield lambda picture: True
        return
    with atomic_path(request.out) as temporary:
        # Its name decides on the format, so that of the temporary file has to end alike.
        named = temporary.with_name(temporary.name + request.out.suffix.lower())
        shown = _Shown(named, rate)
        try:
            yield shown
            shown.close()
            named.replace(temporary)
        finally:
            shown.close()
            named.unlink(missing_ok=True)


def _has_windows() -> bool:
    """Whether this OpenCV opens windows here."""
    try:
        cv2.namedWindow(_TITLE)
    except cv2.error:
        return False
    return True
