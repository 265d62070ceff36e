"""The commands that a page ends with: what to do with what it says."""

import shlex
from collections.abc import Sequence
from pathlib import Path

Step = dict[str, str]

_PAIRS = "--pairs pairs.csv --root images/ --all-pairs"


def after_quantization(model: str, artifact: Path) -> list[Step]:
    """Of a network that has just been quantized: what did it cost, and where does it decide?"""
    words = "What it cost, beside the float network, on pairs of your own"
    evaluation = artifact.parent / "evaluation.json"
    return [
        _step(words, f"evaluate {_file(artifact)} {_PAIRS} --against {_file(model)} --json {_file(evaluation)}"),
        calibration(artifact),
        trial(artifact, model),
    ]


def calibration(artifact: Path) -> Step:
    """Thresholds for an artifact."""
    words = "Thresholds at which it decides, stored in the artifact"
    return _step(words, f"calibrate {_file(artifact)} --images people/")


def evaluation(model: Path, folder: Path) -> Step:
    """What a model is worth."""
    words = "What it is worth, on pairs of your own"
    return _step(words, f"evaluate {_file(model)} {_PAIRS} --json {_file(folder / 'evaluation.json')}")


def latency(models: Sequence[Path | str], folder: Path) -> Step:
    """How fast models are on this machine."""
    return _step("How fast it is here", f"bench {' '.join(map(_file, models))} --json {_file(folder / 'bench.json')}")


def trial(artifact: Path, model: str) -> Step:
    """A look at the two networks."""
    words = "Both networks side by side, on photographs of your own"
    return _step(words, f"try {_file(artifact)} --float {_file(model)}")


def quantization(model: str, plan: Path | None, out: str) -> Step:
    """An artifact of a network, under a plan where there is one."""
    bits = "" if plan is None else f" --bits {_file(plan)}"
    words = "The network in integers" if plan is None else "The network under this plan"
    return _step(words, f"quantize {_file(model)} --images crops/{bits} --out {_file(out)}")


def search(model: str) -> Step:
    """Bits for each layer."""
    words = "The bits of each layer under a budget"
    return _step(words, f"search {_file(model)} --images crops/ --budget 4bits --out plans/")


def paired(first: Path, second: Path) -> Step:
    """Two models on the same pairs."""
    words = "Which decisions differ, by a paired test on the same pairs"
    return _step(words, f"evaluate {_file(second)} {_PAIRS} --against {_file(first)}")


def _file(path: Path | str) -> str:
    """A path as it can be pasted into a shell, whatever its characters."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _step(words: str, typed: str) -> Step:
    return {"words": words, "command": f"bitface {typed}"}
