"""`bitface distill`: a teacher, faces and the name of a network in, that network out, giving the teacher's answers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bitface import backbones
from bitface.errors import UsageError, flag
from bitface.files import path_fields
from bitface.graph import Network, from_module
from bitface.jobs.float_student import FloatStudentRequest, finish, learn, prepare
from bitface.progress import Steps, silent
from bitface.results.float_students import DistillationRecord
from bitface.results.locks import holding
from bitface.training import Training

SCHOOLING = Training(loss={"feature": {"form": "cosine"}}, epochs=100, views="mild", teacher="live")


@dataclass(frozen=True, kw_only=True)
@path_fields
class DistillRequest(FloatStudentRequest):
    """Which student learns, and how; the options of `bitface distill`.

    Attributes:
        student: a name of `backbones.create`, with a width after a colon: `mobilefacenet:0.5`.
        embedding_size: None: the teacher's.
        from_teacher: begins with those of the teacher's weights that have a name and a shape of the student's.
    """

    student: str
    embedding_size: int | None = None
    from_teacher: bool = False
    training: Training = SCHOOLING

    def __post_init__(self) -> None:
        with torch.device("meta"):  # an unknown student shows before the faces are read
            backbones.create(self.student, self.embedding_size)


def distill_model(request: DistillRequest, steps: Steps = silent) -> dict[str, Any]:
    """Makes `model.onnx` and `result.json` in `request.out`.

    The state of the training is in `checkpoint.safetensors` until it is done.

    Returns:
        The content of `result.json`.

    Raises:
        BitfaceError, UsageError: whatever of the request can't be carried out; then `out` holds no new file but
            `skipped.csv` and the checkpoint.
    """
    with holding(request.out, "distill"):
        return _distilled(request, steps)


def _distilled(request: DistillRequest, steps: Steps) -> dict[str, Any]:
    ready = prepare(request, steps)
    size = request.embedding_size or ready.network.embedding_size
    torch.manual_seed(request.seed)
    student = backbones.create(request.student, size, input_size=ready.network.size)
    count = _take_over(student, ready.network) if request.from_teacher else 0
    if request.from_teacher:
        ready.notes.append(f"{count} of the student's {len(student.state_dict())} tensors begin as the teacher's")
    about = {"student": f"{request.student} {size}", "from teacher": str(count)}
    history = learn(request, ready, student, size, about, steps, train_statistics=True)
    assert ready.network.preprocess is not None
    network = from_module(
        student.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
        ready.network.preprocess.name,
        request.student,
        ready.network.size,
    )
    return finish(DistillationRecord, request, ready, network, history, architecture=request.student)


def _take_over(student: nn.Module, teacher: Network) -> int:
    """Copies the teacher's tensors of the same name and shape; gives their number.

    Raises:
        UsageError: there is none.
    """
    own, state = student.state_dict(), teacher.graph.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise UsageError(
            f"no weight of {teacher.name} has the name and the shape of one of the student's; leave "
            f"{flag('from-teacher')} out"
        )
    student.load_state_dict({**own, **fitting})
    return len(fitting)
