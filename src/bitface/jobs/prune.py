"""`bitface prune`: a network and faces in, the same network with fewer channels out, trained to answer as before."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitface.files import path_fields
from bitface.jobs.float_student import FloatStudentRequest, counted, finish, learn, prepare
from bitface.progress import Steps, silent
from bitface.prune import Pruning, prune
from bitface.results.float_students import PruningRecord
from bitface.results.locks import holding
from bitface.training import Training

# Faces that Taylor importance looks at.
_LOOKED_AT = 256
RECOVERY = Training(loss={"feature": {"form": "cosine"}}, epochs=16, views="mild", teacher="live")


@dataclass(frozen=True, kw_only=True)
@path_fields
class PruneRequest(FloatStudentRequest):
    """What to prune and how to recover; the options of `bitface prune`."""

    pruning: Pruning
    training: Training = RECOVERY


def prune_model(request: PruneRequest, steps: Steps = silent) -> dict[str, Any]:
    """Makes `model.onnx` and `result.json` in `request.out`, once the pruned network has learned from the whole one.

    The embeddings keep their size. The state of the training is in `checkpoint.safetensors` until it is done.

    Returns:
        The content of `result.json`.

    Raises:
        BitfaceError, UsageError: see `prune.prune`, and whatever else of the request can't be carried out; then `out`
            holds no new file but `skipped.csv` and the checkpoint.
    """
    with holding(request.out, "prune"):
        return _pruned(request, steps)


def _pruned(request: PruneRequest, steps: Steps) -> dict[str, Any]:
    ready = prepare(request, steps)
    student, groups = prune(ready.network, request.pruning, np.asarray(ready.learning.images[:_LOOKED_AT]))
    ready.clock.lap("pruning")
    digest = hashlib.sha256(student.fingerprint().encode()).hexdigest()
    history = learn(request, ready, student.graph, student.embedding_size, {"channels": digest}, steps)
    whole, left = counted(ready.network), counted(student)
    return finish(
        PruningRecord,
        request,
        ready,
        student,
        history,
        pruning=vars(request.pruning),
        removed={
            **{key: 1 - left[key] / whole[key] for key in whole},
            "channels": 1 - sum(group.after for group in groups) / sum(group.before for group in groups),
        },
        groups=[group.to_json() for group in groups],
    )
