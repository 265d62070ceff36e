"""From a float network and faces to an integer one: by calibration, or by training."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bitface.api.faces import FaceSet, Images, as_faces
from bitface.api.networks import load_network
from bitface.errors import BitfaceWarning
from bitface.graph import Network
from bitface.inputs import faces as inputs
from bitface.inputs import recipes
from bitface.inputs.training import needs_labels, slow, with_losses
from bitface.jobs.quantize import learned
from bitface.losses import Loss
from bitface.progress import Steps, shown
from bitface.quant import BitPlan, Calibration
from bitface.runtime.quantized import QuantizedNetwork, artifact_of
from bitface.targets.plans import for_targets
from bitface.targets.registry import listed
from bitface.training import Method, Session, TrainingFaces


def quantize(
    network: str | os.PathLike[str] | nn.Module | Network,
    faces: FaceSet | Images,
    bits: str | BitPlan = "w8a8",
    calibration: Calibration = Calibration(),
) -> QuantizedNetwork:
    """Post-training quantization: the numbers of an integer network are found on some faces, without labels.

    Args:
        network: see `load_network`; one without a preprocessing takes the best on these faces.
        faces: of `bf.faces`, or what that takes; 512 of them are used where it doesn't say how many (1,024 where units
            learn).
        bits: a word such as `w4a8`, a plan's file, or a plan.
        calibration: how the numbers are found; where units learn, the faces' seed is that of their draws.

    Warns of too few faces, and of a preprocessing that they contradict.

    Raises:
        BitfaceError, UsageError: the network, the faces or the bits can't be used.
    """
    faces = as_faces(faces)
    calibration = calibration.seeded(faces.seed)
    plan = bits if isinstance(bits, BitPlan) else BitPlan.parse(bits)
    most = inputs.DEFAULT_RECONSTRUCTION if calibration.reconstruction else inputs.DEFAULT_CALIBRATION
    with shown() as steps:
        ready = _prepared(network, faces, most, calibration, None, steps)
        student, layers, _ = learned(ready.network, ready.learning, ready.held_out, plan, calibration, steps=steps)
    content = artifact_of(ready.network, student, plan, ready.data, {"method": "ptq", "seed": faces.seed})
    return QuantizedNetwork(content, ready.network, tuple(layers), None, ready.notes, ready.warnings)


def plan_for(targets: str, bits: str | BitPlan = "w8a8") -> BitPlan:
    """The bit plan as targets can hold it, for `quantize` and `train`: `bf.quantize(net, faces, bf.plan_for("ncnn"))`.

    Args:
        targets: names such as `ncnn,openvino`; the strictest decides.
        bits: see `quantize`.

    Warns of what it changes.

    Raises:
        UsageError: a target is unknown, or can't hold what the plan says outright.
    """
    plan = bits if isinstance(bits, BitPlan) else BitPlan.parse(bits)
    plan, _, notes = for_targets(plan, listed(targets))
    for note in notes:
        warnings.warn(note, BitfaceWarning, stacklevel=2)
    return plan


def train(
    network: str | os.PathLike[str] | nn.Module | Network,
    faces: FaceSet | Images,
    bits: str | BitPlan | None = None,
    loss: str | Mapping[str, Any] | Loss | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    recipe: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> QuantizedNetwork:
    """Quantization-aware training: a calibrated student learns to give the network's embeddings.

    Args:
        network, faces: as for `quantize`; all of the faces are learned from where they don't say how many.
        bits: see `quantize`; None: the recipe's, and `w4a4` without one.
        loss: an object, name → weight or options, or words such as `feature,relational=0.5`; None: the recipe's.
        epochs: passes over the faces, exactly; None: the recipe's.
        minutes: as many epochs as fit into this time.
        recipe: name or file; None: our best for the bits. What it says of faces, labels, preprocessing and time counts
            where nothing else says it.
        checkpoint: a file that keeps the state while it trains; a training that was stopped goes on from it.

    Warns as `quantize` does, and where there is no C++ compiler, without which a step takes ten times as long.

    Raises:
        BitfaceError, UsageError: the network, the faces, the bits, the recipe or the loss can't be used, or the
            checkpoint is another training's.
    """
    faces = as_faces(faces)
    plan = bits if bits is None or isinstance(bits, BitPlan) else BitPlan.parse(bits)
    word = None if recipe is None else os.fspath(recipe)
    if word is None and plan is None:
        plan = BitPlan.parse("w4a4")
    settings = recipes.merged(
        recipes.for_training(word, plan or BitPlan()),
        recipes.Options(source=faces.source, plan=plan, seed=faces.seed, epochs=epochs, minutes=minutes),
    )
    assert settings.method is not None
    method = replace(settings.method, training=with_losses(settings.method.training, loss))
    faces = replace(faces, source=settings.source, size=faces.size or settings.size)
    state = Path(checkpoint) if checkpoint is not None else None
    session = Session(state, state is not None and state.exists(), settings.minutes)
    with shown() as steps:
        ready = _prepared(network, faces, None, method, settings, steps)
        student, layers, history = learned(
            ready.network, ready.learning, ready.held_out, settings.plan, method, session, steps=steps
        )
    content = artifact_of(ready.network, student, settings.plan, ready.data, {"method": "qat", "seed": faces.seed})
    return QuantizedNetwork(content, ready.network, tuple(layers), history, ready.notes, ready.warnings)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The teacher with its preprocessing, its faces, and what there is to say of both.

    Attributes:
        data: what an artifact keeps of the faces that are learned from.
    """

    network: Network
    learning: TrainingFaces
    held_out: np.ndarray
    data: dict[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def _prepared(
    model: str | os.PathLike[str] | nn.Module | Network,
    faces: FaceSet,
    most: int | None,
    way: Calibration | Method,
    recipe: recipes.Recipe | None,
    steps: Steps,
) -> _Prepared:
    """Raises BitfaceError where the network or the faces can't be used; warns of what is odd about them."""
    network = load_network(model, size=faces.size if isinstance(model, str | os.PathLike) else None)
    gathered = faces.gathered(network, most, steps)
    if recipe is not None:
        count = max(1, round(recipe.share * len(gathered.learning)))
        gathered = replace(gathered, learning=gathered.learning[:count], files=gathered.files[:count])
    preprocess = network.preprocess.name if network.preprocess else recipe.preprocess if recipe else None
    network, notes, alarms = inputs.settle_preprocess(network, gathered.learning, preprocess)
    labels = faces.identities_of(gathered, needs_labels(way.training)) if isinstance(way, Method) else None
    calibration, method = (way.calibration, way) if isinstance(way, Method) else (way, None)
    alarms = [*network.warnings, *alarms, *inputs.few(len(gathered.learning)), *slow(calibration, method)]
    for text in alarms:
        warnings.warn(text, BitfaceWarning, stacklevel=3)
    notes = [
        *network.notes, *notes, *gathered.notes, *inputs.unseen(gathered.kind, network), *inputs.lonely(labels),
    ]  # fmt: skip
    learning = TrainingFaces(gathered.learning, labels, gathered.workers)
    return _Prepared(network, learning, gathered.held_out, gathered.data, tuple(notes), tuple(alarms))
