"""From the findings to a few plain sentences, and the command to try next."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from bitface.analysis.layers import IMAGE, QUANTIZER, Layers, Point
from bitface.analysis.ranges import Range

# Degrees by which faces turn against their class: below, hardly a decision changes.
_CLOSE = 10.0
# Degrees by which the mean angle between classes may fall before it is said.
_CROWDED = 1.0
_LOW_DB = 10.0
# A quantizer clips too much where clipping is most of its error, and the noise it adds is a tenth of the embedding's.
_SHARE_OF_END = 0.1
_LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class Diagnosis:
    """What was found, the most likely cause first, and the next command."""

    sentences: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class DiagnosedStudent:
    """What the sentences are about: paths, the student's plan, and the options that made it.

    Attributes:
        trained: by quantization-aware training.
        bits: the plan's, such as `w4a4`; None: not known.
        preprocess, size: of the teacher, whose file may not say them itself.
    """

    teacher: str
    student: str
    images: str
    bits: str | None = None
    trained: bool = False
    preprocess: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Angles:
    """What is known of the angles, in degrees, all means.

    Attributes:
        plain: `AngularErrors.means`; rotated: the same without the rotation of all faces together, where that is meant.
        within, between: angles of faces to the centre of their class, and between centres, teacher's and student's;
            None: nobody knows the classes, or there are too few.
    """

    plain: Mapping[str, float]
    rotated: Mapping[str, float] | None = None
    within: tuple[float, float] | None = None
    between: tuple[float, float] | None = None

    @property
    def harm(self) -> float:
        """What of the angles can harm: against the class where there is one, else of the face."""
        best = self.rotated or self.plain
        return best.get("individual vector", best["face"])


def diagnose_student(
    subject: DiagnosedStudent, angles: Angles, layers: Layers | None, better_preprocess: str | None = None
) -> Diagnosis:
    """The sentences and the command.

    Args:
        better_preprocess: under which the faces say the network works better than under the student's own.
    """
    sentences = _turns(angles)
    if better_preprocess:
        sentences.append(f"The student's preprocessing doesn't fit these faces: {better_preprocess} does.")
        return Diagnosis(tuple(sentences), _quantize(subject, "--preprocess", better_preprocess))
    start = layers.start if layers else None
    clipping = worst_clipped(layers) if layers else None
    if layers:
        sentences.append(_where(start, layers))
        if subject.trained:
            sentences.append("A trained student's layers may differ from its teacher's without harm.")
    if clipping:
        sentences.append(
            f"The range of {clipping.tensor} saturates: {clipping.clipped:.2%} of its values are clipped (it holds "
            f"{clipping.low:.3g} to {clipping.high:.3g}, there were {clipping.seen_low:.3g} to "
            f"{clipping.seen_high:.3g})."
        )
    return Diagnosis(tuple(sentences), _next(subject, angles.harm, start, clipping))


def worst_clipped(layers: Layers) -> Range | None:
    """The quantizer that loses most by clipping, where that is most of what it loses, and enough to matter."""
    end = _noise(layers.points[-1].snr)
    noise = {point.name: _noise(point.snr) - _noise(point.before) for point in layers.points}
    clipping = [
        one
        for one in layers.ranges
        if one.clip_noise > one.noise / 2 and noise[one.name] > max(_SHARE_OF_END * end, _LEAST_NOISE)
    ]
    return max(clipping, key=lambda one: noise[one.name], default=None)


def _noise(snr: float) -> float:
    return 10 ** (-snr / 10)


def _turns(angles: Angles) -> list[str]:
    """How far faces turn, and how much of it can harm."""
    plain = angles.plain
    rest = f", by {angles.rotated['face']:.1f} without the rotation of all faces together" if angles.rotated else ""
    close = ": the student follows its teacher closely" if angles.harm < _CLOSE else ""
    sentences = [f"Quantization turns a face by {plain['face']:.1f} degrees on average{rest}{close}."]
    if angles.within and "class" in plain:
        sentences.append(
            f"Its class turns by {plain['class']:.1f} degrees as a whole; against its class a face turns by "
            f"{plain['individual vector']:.1f}. Faces lie {angles.within[0]:.1f} degrees from the centre of their "
            f"class in the teacher, {angles.within[1]:.1f} in the student."
        )
    if angles.between:
        before, after = angles.between
        crowd = (
            "classes crowd together"
            if after < before - _CROWDED
            else "classes keep apart, so that their turn is no harm"
        )
        sentences.append(
            f"Between centres there are {before:.1f} degrees in the teacher, {after:.1f} in the student: {crowd}."
        )
    return sentences


def _where(start: Point | None, layers: Layers) -> str:
    end = layers.points[-1]
    if start is None:
        low = next((point for point in layers.points if point.snr < _LOW_DB), None)
        first = f" It falls below {_LOW_DB:.0f} dB at {_title(low)} first." if low else ""
        return (
            f"No single layer starts the damage: noise adds up along the network, to {end.snr:.1f} dB of signal over "
            f"noise at the embedding.{first}"
        )
    before = "no noise" if start.before >= 100 else f"{start.before:.1f} dB"
    return (
        f"The damage starts at {_title(start)}: signal over noise falls from {before} "
        f"to {start.snr:.1f} dB there; the embedding ends at {end.snr:.1f} dB."
    )


def _title(point: Point) -> str:
    """A tensor in words."""
    if point.kind == IMAGE:
        return "the image itself"
    bits = f" ({point.bits} bits)" if point.bits else ""
    weights = point.kind in ("IntegerConv", "IntegerLinear")
    return f"the {'quantizer' if point.kind == QUANTIZER else 'weights of' if weights else 'layer'} {point.name}{bits}"


def _next(subject: DiagnosedStudent, harm: float, start: Point | None, clipping: Range | None) -> str:
    """The command that deals with the first cause; where nothing is wrong, the one that proves it."""
    if harm < _CLOSE:
        return shlex.join(
            ["bitface", "evaluate", subject.student, "--against", subject.teacher, "--pairs", "PAIRS", "--root", "DIR"]
        )
    if start is not None and start.kind == IMAGE:
        return shlex.join(["bitface", "inspect", subject.teacher, "--images", subject.images, *_sized(subject)])
    if clipping and not subject.trained:
        return _quantize(subject, "--bits", subject.bits or "w8a8", "--observer", "minmax")
    weight, activation = (subject.bits or "w8a8")[1:].split("a")
    if start is not None and start.kind == QUANTIZER and int(activation) < 8:
        return _quantize(subject, "--bits", f"w{weight}a8")
    if start is not None and start.kind != QUANTIZER and int(weight) < 8:
        return _quantize(subject, "--bits", f"w8a{activation}")
    if not subject.trained:
        return _quantize(subject, "--bits", subject.bits or "w8a8", "--method", "qat")
    return _quantize(subject, "--bits", "w8a8")


def _quantize(subject: DiagnosedStudent, *options: str) -> str:
    if subject.preprocess and "--preprocess" not in options:
        options = (*options, "--preprocess", subject.preprocess)
    options = (*options, *_sized(subject), "--out", "out/")
    return shlex.join(["bitface", "quantize", subject.teacher, "--images", subject.images, *options])


def _sized(subject: DiagnosedStudent) -> list[str]:
    return ["--size", subject.size] if subject.size else []
