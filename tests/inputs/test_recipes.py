"""Recipes are read as they are written, or refused in one line."""

from pathlib import Path

import pytest

from bitface.errors import UsageError
from bitface.inputs import recipes as recipe
from bitface.quant import BitPlan, Calibration
from bitface.quant.reconstruct import EFFORTS, effort


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_that_ships_reads(name: str) -> None:
    read = recipe.read(name)
    assert read.about
    assert read.name == name


def test_there_is_a_best_one_for_all_bits() -> None:
    for bits in ("w8a8", "w8a32", "w7a8", "w6a6", "w4a8", "w4a4", "w3a8", "w2a4", "w2a2"):
        chosen = recipe.read(recipe.best_for(BitPlan.parse(bits)))
        assert isinstance(chosen, recipe.Recipe)
        assert chosen.method


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bit: w4a4", "unknown key 'bit'; did you mean 'bits'"),
        ("bits: w9a9", "unknown bits 'w9a9'"),
        ("training: {epoch: 1}", "unknown key 'epoch'; did you mean 'epochs'"),
        ("training: {rate: 100}", "'rate' of the training is 100"),
        ("training: {loss: {featur: 1}}", "did you mean 'feature'"),
        ("training: {loss: {feature: {frm: mse}}}", "no option 'frm'; did you mean 'form'"),
        ("training: {loss: {feature: {form: msee}}}", "did you mean 'mse'"),
        ("calibration: {observer: best}", "unknown observer 'best'"),
        ("calibration: {rotate: hadamar}", "unknown rotation 'hadamar'; did you mean 'hadamard'"),
        ("calibration: {bias: true}", "unknown key 'bias'"),
        ("calibration: {effort: mux}", "unknown effort 'mux'; did you mean 'max'"),
        ("calibration: {reconstruction: {steps: 3}}", "unknown key 'reconstruction'"),
        ("weights: lqs", "did you mean 'lsq'"),
        ("weights: pact", "dorefa"),
        ("share: 2", "'share' of the recipe is 2"),
        ("images: 3", "'images' of the recipe can't be 3"),
        ("- a list", "must be a mapping"),
        ("", "must be a mapping"),
        ("a: [", "no readable recipe"),
        ("bits: w4a4\nweights: lsq\nbits: w8a8", r"no readable recipe \(the key 'bits' stands twice, again in line 3"),
        ("training: {rate: 1e-3, epochs: 1, rate: 1e-4}", "the key 'rate' stands twice"),
        ("backbone: mobilefacenet", "'stages' of the recipe must be a list"),
        ("{backbone: mobilefacnet, stages: [{loss: {softmax: 1}}]}", "did you mean 'mobilefacenet'"),
        ("{backbone: mobilefacenet, stages: [{epochs: 1}]}", "can't learn from 'feature', which needs a teacher"),
        ("{backbone: mobilefacenet, stages: [{loss: {rcm: 1}}]}", "can't learn from 'rcm'.* use one of softmax"),
        ("{backbone: , stages: [{loss: {softmax: 1}}]}", "'backbone' of the recipe names no network"),
        ("weights: {symmetric: false}", "'weights' of the recipe can't be {'symmetric': False}"),
        ("images: [1, 2]", r"'images' of the recipe can't be \[1, 2\]"),
        ("calibration: {observer: [mse]}", r"unknown observer '\['mse'\]'"),
        ("post_training: 'true'", "'post_training' of the recipe can't be 'true': use true or false"),
        ("{post_training: true, training: {epochs: 3}}", "'training' of the recipe is for a training, which 'post_tr"),
        ("{post_training: true, minutes: 3}", "'minutes' of the recipe is for a training"),
        ("{post_training: true, weights: dorefa}", "'weights' of the recipe is for a training"),
        ("{post_training: true, labels: folder}", "'labels' of the recipe is for a training"),
        ("{backbone: mobilefacenet, stages: [{epoch: 1}]}", "did you mean 'epochs'"),
        ("{backbone: mobilefacenet, bits: w4a4, stages: [{epochs: 1}]}", "unknown key 'bits'"),
    ],
)
def test_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        recipe.read(path)


def test_a_training_may_begin_with_rebuilt_blocks(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("calibration: {effort: balanced, observer: minmax}")
    read = recipe.read(path)
    assert isinstance(read, recipe.Recipe)
    assert read.calibration == Calibration("minmax", reconstruction=EFFORTS["balanced"])
    assert read.method
    assert read.method.calibration == read.calibration


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'best-w4a4'"):
        recipe.read("best-w4a")


def test_a_seed_is_of_the_training_and_of_what_it_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("{bits: w4a4, calibration: {effort: balanced}}")
    read = recipe.read(path)
    assert isinstance(read, recipe.Recipe)
    seeded = read.seeded(3)
    assert seeded.method
    assert seeded.method.training.seed == 3
    for calibration in (seeded.calibration, seeded.method.calibration):
        assert calibration.reconstruction == effort("balanced", 3)


def test_streams_stay_as_they_are_where_the_recipe_says_off(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    for word in ("off", "'off'", "auto"):
        path.write_text(f"bits: w4a4s8\ncalibration: {{rotate: {word}}}\n")
        read = recipe.read(path)
        assert isinstance(read, recipe.Recipe)
        assert read.calibration.rotate == word.strip("'")
        assert read.plan is not None
        assert read.plan.word == "w4a4s8"
