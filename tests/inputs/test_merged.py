"""A command's words go before a recipe's, and a recipe's before the defaults."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitface.data.face_source import FaceSource
from bitface.errors import UsageError
from bitface.inputs.recipes import Options, Pretraining, Recipe, merged
from bitface.jobs.quantize import request_of
from bitface.quant import BitPlan
from bitface.training import Training

RECIPE = replace(
    Recipe("mine", plan=BitPlan.parse("w4a4"), minutes=5, preprocess="rgb-raw"),
    source=FaceSource([Path("a")], max_images=8, labels="folder"),
)
SAID = Options(Path("net.onnx"), FaceSource([Path("b")], max_images=9), Path("out"))


def test_who_says_what() -> None:
    request = request_of(merged(RECIPE, SAID))
    assert request.source == FaceSource([Path("b")], None, 9, "folder")
    assert (request.plan, request.minutes, request.preprocess) == (BitPlan.parse("w4a4"), 5, "rgb-raw")
    assert (request.size, request.seed, request.resume) == (None, 0, False)
    said = replace(SAID, plan=BitPlan.parse("w6a6"), preprocess="rgb-imagenet", minutes=1, seed=3)
    request = request_of(merged(RECIPE, said))
    assert (request.plan, request.minutes, request.preprocess) == (BitPlan.parse("w6a6"), 1, "rgb-imagenet")
    assert request.method
    assert request.seed == request.method.training.seed == 3


def test_epochs_replace_minutes() -> None:
    recipe = merged(RECIPE, replace(SAID, epochs=2))
    assert recipe.minutes is None
    assert recipe.method
    assert recipe.method.training.epochs == 2
    with pytest.raises(UsageError, match="epochs= and minutes= both say how long the training lasts"):
        merged(RECIPE, replace(SAID, epochs=2, minutes=1))


@pytest.mark.parametrize("said", [{"epochs": 2}, {"minutes": 1}, {"batch": 8}, {"source": FaceSource(labels="folder")}])
def test_a_recipe_that_trains_nothing_takes_no_option_of_trainings(said: dict[str, Any]) -> None:
    (name,) = said
    plain = Recipe("plain", method=None)
    merged(plain, replace(SAID, seed=3, device="cpu"))
    with pytest.raises(UsageError, match=f"plain trains nothing, so {'labels' if name == 'source' else name}= has no"):
        merged(plain, Options(**said))


def test_nobody_says_it() -> None:
    with pytest.raises(UsageError, match="neither the recipe nor the command line says 'model'"):
        request_of(merged(RECIPE, replace(SAID, model=None)))


def test_a_training_from_scratch() -> None:
    scratch = Pretraining("teacher", "mobilefacenet", (Training(),))
    made = merged(scratch, Options(source=FaceSource([Path("b")]), seed=4))
    assert (made.seed, made.stages[0].seed) == (4, 4)
    assert made.source == FaceSource([Path("b")], labels="folder")
    with pytest.raises(UsageError, match="so epochs= has no place"):
        merged(scratch, Options(epochs=3))
