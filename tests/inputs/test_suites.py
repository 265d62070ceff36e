"""Suites, comparisons and recipes whose values are of another type, or out of range: one line, before anything runs."""

from pathlib import Path

import pytest

from bitface.errors import UsageError
from bitface.inputs import recipes
from bitface.inputs.comparisons import read_comparison
from bitface.inputs.suites import read_suite

SUITE = """
models: {a: a.onnx}
protocols: {lfw: {pairs: pairs.txt, root: images}}
out: out
"""
COMPARISON = """
model: a.onnx
images: crops
protocol: {pairs: pairs.txt, root: images}
candidates: {a: {quantize: {bits: w8a8}}}
"""
RECIPE = "bits: w4a4\n"
LONG, DEEP = "x" * 300, "x/" * 3000


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("threads: -1", "'threads' of the suite is -1: use 1 to 4096"),
        ("threads: 0", "'threads' of the suite is 0: use 1 to 4096"),
        ("threads: two", "'threads' of the suite can't be 'two': use a whole number"),
        ("threads: true", "'threads' of the suite can't be True"),
        ("seed: -1", "'seed' of the suite is -1: use 0 to 2.14748e+09"),
        ("seed: 1.5", "'seed' of the suite can't be 1.5: use a whole number"),
        ("flip: yes please", "'flip' of the suite can't be 'yes please': use true or false"),
        ("fars: 1e-3", "'fars' of the suite can't be"),
        ("fars: [x]", "'fars' of the suite can't be"),
        ("fars: [{a: 1}]", "'fars' of the suite can't be"),
        ("fars: [null]", "'fars' of the suite can't be"),
        ("fars: [true]", "'fars' of the suite can't be"),
        (f"fars: [1{'0' * 400}]", "'fars' of the suite can't be"),
        ("fars: [-1]", "-1"),
        ("engine: 5", "5"),
        ("groups: 5", "'groups' of the suite can't be 5"),
        ("baseline: [a]", "'baseline' of the suite can't be"),
        ("models: {a: 5}", "the model 'a' must be a path"),
        ("models: {a: {path: a.onnx, preprocess: 5}}", "can't be 5: use a word"),
        ("models: {a: {path: a.onnx, preprocess: pink}}", "unknown preprocessing 'pink'"),
        ("models: {a: {path: a.onnx, size: 0}}", "'0' is no image size"),
        ("models: {a: {path: a.onnx, size: [1]}}", "can't be [1]"),
        ("models: [a.onnx]", "'models' must name at least one"),
        ("protocols: {lfw: 5}", "the protocol 'lfw' must be"),
        ("protocols: {lfw: {pairs: 5, root: images}}", "can't be 5"),
        ("out: 5", "'out' of the suite can't be 5"),
    ],
)
def test_suites(tmp_path: Path, more: str, words: str) -> None:
    refused(tmp_path, SUITE, more, words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("threads: -1", "'threads' of the comparison is -1"),
        ("seed: -1", "'seed' of the comparison is -1"),
        ("max_images: 0", "'max_images' of the comparison is 0"),
        ("preprocess: 5", "'preprocess' of the comparison can't be 5: use a word"),
        ("preprocess: pink", "unknown preprocessing 'pink'"),
        ("images: 5", "'images' of the comparison can't be 5"),
        ("candidates: {a: {quantize: {bits: 5.5}}}", "candidate 'a'"),
        ("candidates: {a: {prune: {ratio: half}}}", "candidate 'a': 'ratio' of 'prune' can't be 'half': use a number"),
        ("candidates: {a: {prune: {ratio: 0.5, max_images: -1}}}", "candidate 'a': 'max_images' of 'prune' is -1"),
    ],
)
def test_comparisons(tmp_path: Path, more: str, words: str) -> None:
    refused(tmp_path, COMPARISON, more, words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("preprocess: 5", "'preprocess' of the recipe can't be 5: use a word"),
        ("preprocess: pink", "unknown preprocessing 'pink'"),
        ("training: {seed: -1}", "'seed' of the training is -1"),
        ("training: {batch: many}", "'batch' of the training can't be 'many': use a whole number"),
        ("max_images: -3", "'max_images' of the recipe is -3"),
        ("share: 2", "'share' of the recipe is 2"),
    ],
)
def test_recipes(tmp_path: Path, more: str, words: str) -> None:
    refused(tmp_path, RECIPE, more, words)


def refused(folder: Path, text: str, more: str, words: str) -> None:
    """A file with one key replaced is refused in one line that names it."""
    key = more.partition(":")[0]
    lines = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
    path = folder / "file.yaml"
    path.write_text("\n".join([*lines, more, ""]))
    read = {SUITE: read_suite, COMPARISON: read_comparison, RECIPE: recipes.read}[text]
    with pytest.raises(UsageError) as caught:
        read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [LONG, DEEP])
@pytest.mark.parametrize(
    "lines",
    [
        "images: {}",
        "images: crops\nlabels: {}",
        "images: crops\nmodel: {}",
        "images: crops\nprotocol: {{pairs: a, root: {}}}",
        "images: crops\ncandidates: {{a: {{file: {}}}}}",
    ],
)
def test_names_that_no_file_can_have(tmp_path: Path, name: str, lines: str) -> None:
    text = {key: value for line in COMPARISON.strip().splitlines() for key, value in [line.split(": ", 1)]}
    text |= {key: value for line in lines.format(name).splitlines() for key, value in [line.split(": ", 1)]}
    path = tmp_path / "a.yaml"
    path.write_text("\n".join(f"{key}: {value}" for key, value in text.items()))
    with pytest.raises(UsageError, match="no file has a name as long as") as caught:
        read_comparison(path)
    assert len(str(caught.value)) < 400
