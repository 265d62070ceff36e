"""`bitface synth --judge`: how good and how varied made faces are for a network, before it learns from them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface.analysis.variety import Variety, variety_of
from bitface.data.faces import load_faces
from bitface.data.sources import Source, opened
from bitface.errors import UsageError
from bitface.files import write_json
from bitface.graph import Network
from bitface.inputs.faces import chosen_files, settle_preprocess
from bitface.progress import Steps, silent
from bitface.quant import BitPlan
from bitface.runtime import Embedder, Model, ModelFile, open_float
from bitface.targets.registry import FASTEST


@dataclass(frozen=True)
class JudgeRequest:
    """What to judge, and for what.

    Attributes:
        faces: the folder, or any other source.
        model: the network that is to learn from them.
        real: a source of real faces beside them; None: what is known of the default network, or nothing.
        bits: what the network is to be quantized to; None: nobody says.
        out: the JSON file with the figures; None: no file.
    """

    faces: Path
    model: ModelFile
    real: Path | None = None
    bits: BitPlan | None = None
    out: Path | None = None


# At most and at least so many faces are looked at.
MOST, FEWEST = 1000, 100
# LFW's faces in the default network (SFace), by its fingerprint.
KNOWN = {"a7e56b07847bc5d70b4133f0c05ee5fa3380bd9e6c91cf3c69684f29efb1419b": Variety(1000, 12.76, 0.263, 36.8)}
# Below so many bits of weights or activations made faces must fill so much of the dimensions of real ones.
NARROW, ENOUGH = 6, 0.5


def judge_faces(request: JudgeRequest, steps: Steps = silent) -> dict[str, Any]:
    """Embeds at most 1,000 of the faces, and of the real ones, and says how varied they are.

    Returns:
        `made` and `real` (see `variety.Variety`; None: nothing to compare with), `share`: of the dimensions of real
        faces that the made ones fill, `notes` and `warnings`.

    Raises:
        BitfaceError, UsageError: the faces or the network can't be read, or the faces are fewer than 100.
    """
    network = open_float(request.model)
    images = _images(request.faces, network, steps)
    network, notes, warnings = settle_preprocess(network, images, request.model.preprocess)
    others = _images(request.real, network, steps) if request.real else None
    tell = steps("judging faces")
    made, real = _variety(request, network, images), KNOWN.get(network.fingerprint())
    if others is not None:
        tell(1, 2)
        real = _variety(request, network, others)
    tell(1, 1)
    share = made.dimensions / real.dimensions if real else None
    if real is None:
        notes.append("nothing is known of real faces in this network: give some with --like to have these compared")
    plan = request.bits
    if share is not None and share < ENOUGH and plan and min(plan.bits.weight, plan.bits.activation) < NARROW:
        warnings.append(
            f"these faces fill {share:.0%} of the dimensions that real ones do, too few for {plan.word}: what it "
            "learns from them holds less on real faces; mix sources, use a better generator, real faces or more bits"
        )
    result = {
        "faces": str(request.faces),
        "model": network.fingerprint(),
        "made": asdict(made),
        "real": asdict(real) if real else None,
        "share": share,
        "notes": [*network.notes, *notes],
        "warnings": [*network.warnings, *warnings],
    }
    if request.out:
        write_json(request.out, result)
    return result


def _images(source: Path, network: Network, steps: Steps) -> np.ndarray:
    files = chosen_files(opened(Source.parse(source)), MOST)
    images = load_faces(files, network.size, steps("reading faces")).images
    if len(images) < FEWEST:
        raise UsageError(f"{source}: {len(images)} faces are too few to judge; give {FEWEST} or more")
    return images


def _variety(request: JudgeRequest, network: Network, images: np.ndarray) -> Variety:
    return variety_of(Embedder(Model(request.model.path, "float", network), FASTEST).embed(images))
