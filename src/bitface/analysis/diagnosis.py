"""From the findings to a few plain sentences, and the command to try next."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitface.analysis.layers import IMAGE, QUANTIZER, Layers, Point
from bitface.analysis.ranges import Range

# Mean A-QE in degrees. Below the first hardly a decision changes; above the second the student is another network.
_CLOSE = 10.0
_LOST = 60.0
# A quantizer clips too much where clipping makes most of its error and so many values are clipped.
_CLIPPED = 0.001
_COARSE_NOISE = 0.01


@dataclass(frozen=True)
class Diagnosis:
    """What was found, the most likely cause first, and the next command."""

    sentences: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Subject:
    """What the sentences are about: paths, the student's plan, and the options that made it.

    Attributes:
        trained: by quantization-aware training.
        bits: the plan's, such as `w4a4`; None: no artifact.
    """

    teacher: str
    student: str
    images: str
    bits: str | None = None
    trained: bool = False


def diagnose_student(
    subject: Subject,
    turned: float,
    layers: Layers | None,
    better_preprocess: str | None = None,
    errors: Mapping[str, float] | None = None,
) -> Diagnosis:
    """The sentences and the command.

    Args:
        turned: mean A-QE, degrees.
        better_preprocess: under which the faces say the network works better than under the student's own.
        errors: `AngularErrors.means`, where classes are known.
    """
    sentences = [_how_much(turned)]
    if better_preprocess:
        sentences.append(f"The student's preprocessing doesn't fit these faces: {better_preprocess} does.")
        return Diagnosis((*sentences, *_parts(errors)), _quantize(subject, "--preprocess", better_preprocess))
    start = layers.start if layers else None
    clipping = worst_clipped(layers.ranges) if layers else None
    if layers:
        sentences.append(_where(start, layers))
    if clipping:
        sentences.append(
            f"The range of {clipping.tensor} saturates: {clipping.clipped:.2%} of its values are clipped (it holds "
            f"{clipping.low:.3g} to {clipping.high:.3g}, there were {clipping.seen_low:.3g} to "
            f"{clipping.seen_high:.3g})."
        )
    return Diagnosis((*sentences, *_parts(errors)), _next(subject, turned, start, clipping))


def worst_clipped(ranges: Sequence[Range]) -> Range | None:
    """The quantizer that loses most by clipping, where clipping is most of what it loses and it loses 1 % or more."""
    found = [
        one
        for one in ranges
        if one.clipped > _CLIPPED and one.clip_noise > one.noise / 2 and one.clip_noise > _COARSE_NOISE
    ]
    return max(found, key=lambda one: one.clip_noise, default=None)


def _how_much(turned: float) -> str:
    if turned < _CLOSE:
        return f"Quantization turns a face by {turned:.1f} degrees on average: the student follows its teacher closely."
    if turned < _LOST:
        return f"Quantization turns a face by {turned:.1f} degrees on average."
    return f"Quantization turns a face by {turned:.1f} degrees on average: little of the teacher is left."


def _where(start: Point | None, layers: Layers) -> str:
    end = layers.points[-1]
    if start is None:
        return (
            f"No single layer starts the damage: noise adds up along the network, to {end.snr:.1f} dB of signal over "
            "noise at the embedding."
        )
    bits = f" ({start.bits} bits)" if start.bits else ""
    kind = {QUANTIZER: "quantizer ", IMAGE: "", "IntegerConv": "weights of ", "IntegerLinear": "weights of "}
    before = "no noise" if start.before >= 100 else f"{start.before:.1f} dB"
    return (
        f"The damage starts at the {kind.get(start.kind, '')}{start.name}{bits}: signal over noise falls from {before} "
        f"to {start.snr:.1f} dB there; the embedding ends at {end.snr:.1f} dB."
    )


def _parts(errors: Mapping[str, float] | None) -> list[str]:
    if not errors or "class" not in errors:
        return []
    return [
        f"Of the {errors['face']:.1f} degrees by which a face turns, its class turns by {errors['class']:.1f}, which "
        f"harms nobody; against its class it turns by {errors['individual vector']:.1f}."
    ]


def _next(subject: Subject, turned: float, start: Point | None, clipping: Range | None) -> str:
    """The command that deals with the first cause; where nothing is wrong, the one that proves it."""
    if turned < _CLOSE:
        return shlex.join(
            ["bitface", "evaluate", subject.student, "--against", subject.teacher, "--pairs", "PAIRS", "--root", "DIR"]
        )
    if start is not None and start.kind == IMAGE:
        return shlex.join(["bitface", "inspect", subject.teacher, "--images", subject.images])
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


def _quantize(subject: Subject, *options: str) -> str:
    return shlex.join(["bitface", "quantize", subject.teacher, "--images", subject.images, *options, "--out", "out/"])
