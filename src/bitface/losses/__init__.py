"""What a student is trained for.

Embeddings of a batch come in, the student's and the teacher's, with labels; one number to minimise goes out. Losses
are built by name (`build`, `build_sum`) and all called alike: `loss(student, teacher, labels)`. Feature and relational
distillation and EKD do without identities; softmax, the margins and RCM need them and learn class weights of their
own, which are trained with the student. Angles between embeddings (`angular`) serve the analysis of networks too.
Nothing here knows of images or networks.
"""

from bitface.losses.angular import angle_between, angular_error, individual_error
from bitface.losses.base import Loss
from bitface.losses.registry import LOSSES, build, build_sum, by_name, options_of, to_json
from bitface.losses.total import Sum

__all__ = [
    "LOSSES",
    "Loss",
    "Sum",
    "angle_between",
    "angular_error",
    "build",
    "build_sum",
    "by_name",
    "individual_error",
    "options_of",
    "to_json",
]
