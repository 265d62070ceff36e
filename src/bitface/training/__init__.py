"""Training: one loop for full precision and for quantized students, on one device or on several ranks.

In come a model, faces (with or without identities), a loss and settings; out comes the trained model. `sampler` says
which faces a step takes, `loader` reads them, `views` is what the student sees, `teacher` what it should answer; `loop`
does the rest and `checkpoint` keeps it. `distil` is what every student of a teacher goes through, and `qat` the whole
way of a quantized one.
"""

from bitface.errors import Interrupted
from bitface.training.distil import Learner, Session, Teacher, Watch, distil
from bitface.training.faces import TrainingFaces, digest
from bitface.training.loop import fit
from bitface.training.qat import Method, train
from bitface.training.settings import Training
from bitface.training.trainee import History, Status, Trainee

__all__ = [
    "History",
    "Interrupted",
    "Learner",
    "Method",
    "Session",
    "Status",
    "Teacher",
    "Trainee",
    "Training",
    "TrainingFaces",
    "Watch",
    "digest",
    "distil",
    "fit",
    "train",
]
