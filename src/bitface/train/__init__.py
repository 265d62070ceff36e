"""Training on a CPU or whatever torch has: one loop for full precision and for quantized students.

In come a model, faces (with or without identities), a loss and settings; out comes the trained model. `faces` says
what a step learns from, `views` what the student sees of it, `teacher` what it should answer, `loop` does the rest and
`checkpoint` keeps it. `qat` is the whole way for a quantized student.
"""

from bitface.train.faces import TrainingFaces, digest
from bitface.train.loop import History, Interrupted, Status, Trainee, fit
from bitface.train.qat import Method, Watch, train
from bitface.train.settings import Training

__all__ = [
    "History",
    "Interrupted",
    "Method",
    "Status",
    "Trainee",
    "Training",
    "TrainingFaces",
    "Watch",
    "digest",
    "fit",
    "train",
]
