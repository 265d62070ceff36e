import shlex
from dataclasses import replace

import pytest

from bitface.analysis.diagnosis import Angles, DiagnosedStudent, diagnose_student
from bitface.analysis.layers import Layers, Point
from bitface.analysis.ranges import Range

IMAGE = Point("image", "image", None, 120, 120, 1)
END = Point("fc", "IntegerLinear", 8, 3, 3, 0.6)
RANGE = Range("conv_a8", "conv", 8, -1, 1, -9, 9, 0.05, 0.05, 256, 0, 0.4, 0.39, -9, 1, (1, 2))
SUBJECT = DiagnosedStudent("net.onnx", "out/model.bitface", "my faces", "w4a4")


def turned(face: float) -> Angles:
    return Angles({"face": face})


def layers(start: Point | None, *ranges: Range) -> Layers:
    between = start or Point("conv_a8", "quantizer", 8, 10, 11, 0.9, 0.5)
    return Layers((IMAGE, between, END), ranges, start, 64)


def options(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "bitface"
    return words


QUANTIZER = Point("conv_a8", "quantizer", 8, 4, 30, 0.7, 9)


@pytest.mark.parametrize(
    ("found", "words", "command"),
    [
        (layers(QUANTIZER, RANGE), ("quantizer conv_a8", "range of conv saturates", "10.00%"), "--observer minmax"),
        (layers(QUANTIZER, replace(RANGE, clip_noise=0.01)), ("quantizer conv_a8",), "--bits w4a8"),
        (layers(replace(QUANTIZER, name="conv", kind="IntegerConv", bits=4)), ("weights of conv (4 bits)",), "w8a4"),
        (layers(None), ("No single layer", "below 10 dB at the weights of fc"), "--method qat"),
        (layers(replace(IMAGE, snr=2, rise=9)), ("the image itself",), "inspect net.onnx"),
        (None, ("30.0 degrees",), "--method qat"),
    ],
)
def test_each_cause_has_its_sentence_and_its_command(
    found: Layers | None, words: tuple[str, ...], command: str
) -> None:
    diagnosis = diagnose_student(SUBJECT, turned(30), found)
    text = " ".join(diagnosis.sentences)
    for word in words:
        assert word in text
    assert command in diagnosis.command
    assert "my faces" in options(diagnosis.command)


def test_a_wrong_preprocessing_comes_before_everything() -> None:
    diagnosis = diagnose_student(SUBJECT, turned(30), layers(QUANTIZER, RANGE), "bgr-raw")
    assert "bgr-raw" in diagnosis.sentences[1]
    assert "--preprocess bgr-raw" in diagnosis.command


def test_a_student_that_follows_closely_is_to_be_proved() -> None:
    diagnosis = diagnose_student(SUBJECT, turned(3), layers(None, RANGE))
    assert diagnosis.command.startswith("bitface evaluate out/model.bitface --against net.onnx")
    assert "closely" in diagnosis.sentences[0]


def test_a_trained_student_isnt_sent_to_training_again() -> None:
    diagnosis = diagnose_student(replace(SUBJECT, trained=True), turned(80), layers(None))
    assert "qat" not in diagnosis.command
    assert "--bits w8a8" in diagnosis.command
    assert "without harm" in " ".join(diagnosis.sentences)


def test_class_and_individual_error_are_told_apart() -> None:
    means = {"face": 80.0, "class": 79.5, "individual": 0.5, "individual vector": 60.0}
    rotated = {**means, "face": 7.0, "individual vector": 6.5}
    diagnosis = diagnose_student(SUBJECT, Angles(means, rotated, (31.0, 32.5), (89.0, 88.7)), layers(None))
    text = " ".join(diagnosis.sentences)
    for figure in ("80.0", "7.0 without", "79.5", "60.0", "31.0", "32.5", "88.7", "keep apart", "closely"):
        assert figure in text
    crowded = diagnose_student(SUBJECT, Angles(means, rotated, (31.0, 32.5), (89.0, 80.7)), None)
    assert "crowd together" in " ".join(crowded.sentences)
    # A rotation of everything harms nobody, however large.
    assert diagnosis.command.startswith("bitface evaluate")
    assert "class" not in " ".join(diagnose_student(SUBJECT, turned(30), None).sentences)


def test_a_preprocessing_that_was_typed_is_typed_again() -> None:
    subject = replace(SUBJECT, preprocess="rgb-raw")
    assert "--preprocess rgb-raw" in diagnose_student(subject, turned(30), None).command
    command = diagnose_student(subject, turned(30), None, "bgr-raw").command
    assert "--preprocess bgr-raw" in command
    assert "rgb-raw" not in command
