"""The result of `bitface analyse`: what a student lost against its teacher, and where."""

from typing import Literal

from bitface.analysis.layers import Point
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Files, Machine, Seconds, Texts

# Name of an angle → degrees, see `analysis.angular.AngularErrors.means`.
MeanAngles = dict[str, float]


class AnalysedModel(Section):
    """One of the two; `bits` and `method` are an artifact's."""

    path: str
    name: str
    kind: str
    preprocess: str | None
    embedding_size: int
    fingerprint: str
    bits: str | None
    method: str | None


class DiagnosisText(Section):
    """What happened, and the command to try next."""

    sentences: Texts
    command: str


class AnalysedFaces(Section):
    """How many faces there were and were used; `alone`: classes of one face. Paths are below `folder`."""

    used: int
    classes: int
    alone: int
    images: int
    labels: str | None
    folder: str | None = None


class MeanErrors(Section):
    """Mean angles; those without the common rotation are None where there are too few faces for it."""

    as_embedded: MeanAngles = Field(alias="as embedded")
    rotation_taken_out: MeanAngles | None = Field(alias="rotation taken out")


class AngleDistribution(Section):
    """Angles in degrees as a histogram: equal bins of `width` from `low` on."""

    count: int
    mean: float
    p05: float
    median: float
    p95: float
    low: float
    width: float
    counts: tuple[int, ...]


class ClassErrors(Section):
    """A class that lost much: how far its centre turned, and its faces against it; mean angles to the centre."""

    name: str
    faces: int
    error: float
    individual: float
    teacher: float
    student: float


class FaceMaps(Section):
    """Both maps: places of `rows` faces in the plane, their classes and names."""

    rows: int
    teacher: tuple[tuple[float, float], ...]
    student: tuple[tuple[float, float], ...]
    group: tuple[int, ...]
    title: Texts


class KeptNeighbours(Section):
    """How much of the neighbourhoods is kept, see `analysis.maps`."""

    k: int
    kept: float
    lowest: float
    trustworthiness: float
    faces: int


class QuantizerRange(Section):
    """A quantizer and the values it rounds, see `analysis.ranges.Range`."""

    name: str
    tensor: str
    bits: int
    low: float
    high: float
    seen_low: float
    seen_high: float
    below: float
    above: float
    levels: int
    unused: int
    noise: float
    clip_noise: float
    start: float
    width: float
    counts: tuple[int, ...]
    clipped: float


class LayersSideBySide(Section):
    """Every tensor of both networks, see `analysis.layers.Layers`."""

    points: tuple[Point, ...]
    ranges: tuple[QuantizerRange, ...]
    start: Point | None
    faces: int


class FlipCounts(Section):
    """Decisions that changed at one FAR, at the thresholds `teacher` and `student`; `own`: the artifact's."""

    far: float
    teacher: float
    student: float
    rejected: int
    accepted: int
    gained: int
    genuine: int
    impostor: int
    own: bool


class FlippedPair(Section):
    """A pair whose decision changed: both similarities, and how far it moved towards the wrong side."""

    left: str
    right: str
    same: bool
    teacher: float
    student: float
    damage: float


class FlippedDecisions(Section):
    """Decisions that changed on a `list` or on `all pairs`; the most damaged pairs first."""

    pairs: str
    points: tuple[FlipCounts, ...]
    worst: tuple[FlippedPair, ...]


class SharedCondition(Section):
    """What the faces of lost decisions share: means over them and over all, and p of a rank test."""

    name: str
    flipped: float
    all: float
    p: float | None
    faces: int


class AnalysisRecord(StoredResult):
    """A student beside its teacher.

    Attributes:
        class_word: `class`, or `pseudo-class` where the teacher's similarities made the classes.
        angles: what is shown → name → its distribution; the names are groups of angles, or teacher and student.
        classes: the 20 with most individual error.
    """

    kind: Literal["analysis"] = "analysis"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    title: str
    teacher: AnalysedModel
    student: AnalysedModel
    class_word: str
    diagnosis: DiagnosisText
    faces: AnalysedFaces
    errors: MeanErrors
    angles: dict[str, dict[str, AngleDistribution]]
    classes: tuple[ClassErrors, ...]
    map: FaceMaps
    neighbourhoods: KeptNeighbours | None
    layers: LayersSideBySide | None
    flips: FlippedDecisions | None
    conditions: tuple[SharedCondition, ...]
    notes: Texts
    warnings: Texts
    machine: Machine
    seconds: Seconds
    files: Files = Field(default_factory=dict)
