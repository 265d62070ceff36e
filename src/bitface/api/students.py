"""From a float network and faces to an integer one: by calibration, or by training."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from bitface.api.faces import FaceSet
from bitface.api.networks import load_network
from bitface.errors import UsageError
from bitface.graph import Network
from bitface.inputs import faces as inputs
from bitface.inputs import recipes
from bitface.losses import Loss
from bitface.progress import Steps, shown
from bitface.quant import BitPlan, Calibration
from bitface.quant import quantize as calibrated
from bitface.runtime.quantized import QuantizedNetwork, artifact_of
from bitface.runtime.teacher import teacher_of
from bitface.training import Method, Session, TrainingFaces, Watch
from bitface.training import train as trained
from bitface.training.progress import training_line


def quantize(
    network: str | os.PathLike[str] | nn.Module | Network,
    faces: FaceSet,
    bits: str | BitPlan = "w8a8",
    calibration: Calibration = Calibration(),
) -> QuantizedNetwork:
    """Post-training quantization: the numbers of an integer network are found on some faces, without labels.

    Args:
        network: see `load_network`; one without a preprocessing takes the best on these faces.
        faces: see `bf.faces`; 512 of them are used where it doesn't say how many (1,024 where units learn).
        bits: a word such as `w4a8`, a plan's file, or a plan.
        calibration: how the numbers are found.

    Warns of too few faces, and of a preprocessing that they contradict.

    Raises:
        BitfaceError, UsageError: the network, the faces or the bits can't be used.
    """
    plan = bits if isinstance(bits, BitPlan) else BitPlan.parse(bits)
    most = inputs.DEFAULT_RECONSTRUCTION if calibration.reconstruction else inputs.DEFAULT_CALIBRATION
    with shown() as steps:
        ready = _prepared(network, faces, most, steps)
        told = steps("calibrating"), steps("reconstructing") if calibration.reconstruction else None
        student, layers = calibrated(ready.network, ready.faces.learning, plan, calibration, *told)
    content = artifact_of(ready.network, student, plan, ready.faces.data, {"method": "ptq", "seed": faces.seed})
    return QuantizedNetwork(content, ready.network, tuple(layers), None, ready.notes, ready.warnings)


def train(
    network: str | os.PathLike[str] | nn.Module | Network,
    faces: FaceSet,
    bits: str | BitPlan = "w4a4",
    loss: Mapping[str, Any] | Loss | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    recipe: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> QuantizedNetwork:
    """Quantization-aware training: a calibrated student learns to give the network's embeddings.

    Args:
        network, faces, bits: as for `quantize`; all of the faces are learned from where they don't say how many.
        loss: an object, or name → weight; None: the recipe's.
        epochs: passes over the faces; None: the recipe's.
        minutes: as many epochs as fit into this time.
        recipe: name or file; None: our best for the bits.
        checkpoint: a file that keeps the state while it trains; a training that was stopped goes on from it.

    Warns as `quantize` does, and where there is no C++ compiler, without which a step takes ten times as long.

    Raises:
        BitfaceError, UsageError: the network, the faces, the bits, the recipe or the loss can't be used, or the
            checkpoint is another training's.
    """
    plan = bits if isinstance(bits, BitPlan) else BitPlan.parse(bits)
    chosen = recipes.read(os.fspath(recipe) if recipe else recipes.best_for(plan))
    if isinstance(chosen, recipes.Pretraining) or chosen.method is None:
        raise UsageError(f"{chosen.name} isn't a training of a quantized network")
    chosen = chosen.seeded(faces.seed)
    chosen = chosen.for_epochs(epochs) if epochs else chosen
    assert chosen.method is not None
    method = chosen.method
    if loss is not None:
        method = replace(method, training=replace(method.training, loss=loss))
    state = Path(checkpoint) if checkpoint is not None else None
    with shown() as steps:
        ready = _prepared(network, faces, chosen.source.max_images, steps)
        student, layers, history = trained(
            ready.network,
            TrainingFaces(ready.faces.learning, faces.identities_of(ready.faces)),
            ready.faces.held_out,
            plan,
            method,
            teacher_of(Path(ready.network.name), ready.network, method.training),
            Session(state, state is not None and state.exists(), minutes, _watch(method, steps)),
        )
    content = artifact_of(ready.network, student, plan, ready.faces.data, {"method": "qat", "seed": faces.seed})
    return QuantizedNetwork(content, ready.network, tuple(layers), history, ready.notes, ready.warnings)


@dataclass(frozen=True)
class _Prepared:
    """The teacher with its preprocessing, its faces, and what there is to say of both."""

    network: Network
    faces: inputs.Faces
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def _prepared(
    model: str | os.PathLike[str] | nn.Module | Network, faces: FaceSet, most: int | None, steps: Steps
) -> _Prepared:
    network = load_network(model)
    gathered = faces.gathered(network, most, steps)
    word = network.preprocess.name if network.preprocess else None
    network, notes, alarms = inputs.settle_preprocess(network, gathered.learning, word)
    alarms = [*network.warnings, *alarms, *inputs.few(len(gathered.learning))]
    for text in alarms:
        warnings.warn(text, stacklevel=3)
    notes = [*network.notes, *notes, *gathered.notes, *inputs.unseen(gathered.kind, network)]
    return _Prepared(network, gathered, tuple(notes), tuple(alarms))


def _watch(method: Method, steps: Steps) -> Watch:
    rebuilding = steps("reconstructing") if method.calibration.reconstruction else None
    return Watch(steps("calibrating"), rebuilding, steps("embedding with the teacher"), training_line(steps))
